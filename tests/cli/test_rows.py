"""What predict and generate write: formats, columns, errors only; the standard input and output; what is no regular file."""

import csv
import io
import json
import os
import shutil
import subprocess
import threading

import support
from support import run
from test_generate import make_decoder
from test_inspect_data import TRUNKS, letters


class Rows(support.SharedCase):
    """One trained classifier and one regression, shared."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        support.make_model(cls.root / "model")
        make_decoder(cls.root / "gpt2")
        (cls.root / "data").mkdir()
        support.write_tsv(cls.root / "data/train.tsv", support.rows(60, 1))
        support.write_tsv(cls.root / "data/dev.tsv", support.rows(30, 2))
        support.write_pairs(cls.root / "pairs.tsv", 20, 4)
        (cls.root / "pairs.yaml").write_text(support.PAIR_TASK)
        (cls.root / "go-on.yaml").write_text(support.GO_ON_TASK)
        (cls.root / "choice.yaml").write_text("name: pick\nkind: choice\nprompt: text\noptions: [fine, sad]\ntarget: answer\n")
        rows = [{"id": i, "text": text, "label": label, "source": {"site": f"s{i}"}, "note": None if i % 2 else 'a "b", c\nd'}
                for i, (text, label) in enumerate(support.rows(30, 2))]
        (cls.root / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        for out, task, data in (("run", "text:bad,good", "data"), ("line", "pairs.yaml", "pairs.tsv")):
            done = run("train", "--model", "model", "--task", task if ":" in task else f"./{task}", "--data", data, "--adapter", "lora", "--out", out, "--threads", 1,
                       "--quiet", "--set", "max_steps=3", "learning_rate=0.01", cwd=cls.root)
            assert done.returncode == 0, done.stderr

    ADAPTER = ("--model", "model", "--adapter", "run/adapter", "--threads", 1)

    def predict(self, *more, data="rows.jsonl", **settings):
        return run("predict", *self.ADAPTER, "--data", data, *more, cwd=self.root, **settings)

    def written(self, name, *more, data="rows.jsonl"):
        target = self.dir / name
        self.assert_done(self.predict("--out", target, "--quiet", *more, data=data))
        return target.read_text(encoding="utf-8")

    def lines(self, *more, data="rows.jsonl"):
        return [json.loads(line) for line in self.written("lines.jsonl", *more, data=data).splitlines()]

    # --- formats and columns

    def test_the_ending_says_the_format(self):
        lines = self.lines()
        self.assertEqual(json.loads(self.written("p.json")), lines)
        for name, settings in (("p.csv", {}), ("p.tsv", {"delimiter": "\t", "quoting": csv.QUOTE_NONE})):
            table = list(csv.DictReader(io.StringIO(self.written(name)), **settings))
            self.assertEqual(list(table[0]), ["id", "prediction", "probabilities.bad", "probabilities.good", "logits"])
            for row, line in zip(table, lines, strict=True):
                self.assertEqual((int(row["id"]), row["prediction"], json.loads(row["logits"])), (line["id"], line["prediction"], line["logits"]))
                for label, share in line["probabilities"].items():
                    self.assertEqual(float(row[f"probabilities.{label}"]), share)

    def test_format_wins_over_the_ending(self):
        self.assertEqual(self.written("p.csv", "--format", "jsonl"), self.written("p.jsonl"))
        self.assertEqual(self.written("p.txt", "--format", "csv"), self.written("p.csv"))
        self.assertEqual(self.written("p.CSV"), self.written("p.csv"))

    def test_an_ending_that_says_nothing_is_refused(self):
        for name in ("p.txt", "p", "p.jsonl.gz", "p.parquet"):
            with self.subTest(name=name):
                self.assert_refused(self.predict("--out", self.dir / name), 2, "--out: expected a file name ending in .jsonl, .json, .csv or .tsv", name, "--format")
                self.assertEqual(list(self.dir.iterdir()), [])
        self.assert_refused(self.predict("--out", "p.csv", "--format", "xml"), 2, "--format", "xml")

    def test_columns_in_the_order_asked_for(self):
        lines = self.lines("--columns", "gold,id,text,prediction,probability,note,source")
        rows = [json.loads(line) for line in (self.root / "rows.jsonl").read_text().splitlines()]
        for line, row, usual in zip(lines, rows, self.lines(), strict=True):
            self.assertEqual(list(line), ["gold", "id", "text", "prediction", "probability", "note", "source"])
            self.assertEqual([line[key] for key in ("gold", "id", "text", "note", "source")], [row[key] for key in ("label", "id", "text", "note", "source")])
            self.assertEqual((line["prediction"], line["probability"]), (usual["prediction"], usual["probabilities"][line["prediction"]]))

    def test_cells_that_csv_must_quote_read_back(self):
        table = list(csv.DictReader(io.StringIO(self.written("p.csv", "--columns", "id,note,source"), newline="")))
        self.assertEqual([table[0]["note"], table[1]["note"]], ['a "b", c\nd', ""])
        self.assertEqual(json.loads(table[3]["source"]), {"site": "s3"})
        done = self.predict("--out", self.dir / "p.tsv", "--columns", "id,note")
        self.assert_refused(done, 2, "rows.jsonl:1: TSV cannot hold a tab or a line break", "CSV")
        self.assertFalse((self.dir / "p.tsv").exists())

    def test_tsv_is_refused_before_a_row_is_answered(self):
        lines = [json.dumps({"text": "fine day", "note": "a"})] * 1500 + [json.dumps({"text": "sad\nday", "note": "b"})]
        (self.dir / "x.jsonl").write_text("\n".join(lines) + "\n")
        for columns in ("id,text,prediction", "id,input.text"):
            done = self.predict("--out", "-", "--format", "tsv", "--columns", columns, data=self.dir / "x.jsonl")
            self.assert_refused(done, 2, "x.jsonl:1501: TSV cannot hold a tab or a line break, found \"sad\\x0aday\"; write CSV or JSONL")
            self.assertEqual(done.stdout, "")
        self.assertEqual(len(self.lines("--columns", "text", data=self.dir / "x.jsonl")), 1501)
        (self.dir / "pick.yaml").write_text("name: pick\nkind: choice\nprompt: text\noptions: [fine, \"a\\tb\"]\ntarget: answer\n")
        pick = ("predict", "--model", "gpt2", "--task", self.dir / "pick.yaml", "--data", self.dir / "x.jsonl", "--threads", 1, "--out", self.dir / "p.tsv")
        self.assert_refused(run(*pick, "--columns", "prediction", cwd=self.root), 2, "x.jsonl:1: TSV cannot hold a tab or a line break, found \"a\\x09b\"")

    def test_a_column_of_the_file_that_has_the_name_of_graft_s(self):
        (self.dir / "x.jsonl").write_text('{"text": "fine day", "prediction": "mine", "id": "a"}\n')
        (line,) = self.lines("--columns", "id,input.prediction,prediction", data=self.dir / "x.jsonl")
        self.assertEqual((line["id"], line["input.prediction"], line["prediction"] in ("bad", "good")), ("a", "mine", True))

    def test_columns_inside_others(self):
        rows = [{"id": i, "text": "fine", "meta": {"site": f"s{i}", "tags": ["x", i]} if i % 2 else None} for i in range(1500)]
        data = self.dir / "inner.jsonl"
        data.write_text("".join(json.dumps(row) + "\n" for row in rows))
        lines = self.lines("--columns", "id,meta.site,meta.tags.1,meta", data=data)
        expected = [{"id": i, "meta.site": f"s{i}", "meta.tags.1": i, "meta": rows[i]["meta"]} if i % 2 else
                    {"id": i, "meta.site": None, "meta.tags.1": None, "meta": None} for i in range(1500)]
        self.assertEqual(lines, expected)
        done = self.predict("--out", "-", "--columns", "id,meta.sight", data=data)
        self.assert_refused(done, 2, '--columns: no row has "meta.sight" (did you mean \'meta.site\'?); what is inside is named with dots: meta.site')
        self.assert_refused(self.predict("--out", "-", "--columns", "id,text.x"), 2, '--columns: no column "text.x"')

    def test_columns_that_are_not_there(self):
        for columns, *parts in (("id,probabilty", "did you mean 'probability'?", "rows.jsonl: id, text, label, source and note"), ("id,id", "appears twice"),
                                ("id,input.no", '"input.no"'), ("id,chosen", '"chosen"'), ("id,second", '"second"')):
            with self.subTest(columns=columns):
                self.assert_refused(self.predict("--out", "-", "--columns", columns), 2, "--columns", *parts)

    def test_columns_that_become_one(self):
        own = self.write_row("fine", **{"probabilities.good": 1})   # a row that Graft wrote as CSV
        done = self.predict("--out", self.dir / "p.csv", "--columns", "id,probabilities,probabilities.good", data=own)
        self.assert_refused(done, 2, '--columns: column "probabilities.good" appears twice; leave one out')

    def test_a_group_that_would_steer_the_terminal(self):
        (self.dir / "pick.yaml").write_text("name: pick\nkind: choice\nprompt: text\noptions: [fine, sad]\ntarget: answer\ngroup: from\nmetrics: [accuracy, accuracy_by_group]\n")
        rows = [{"text": "the day", "answer": "sad", "from": "\x1b[31mred"}, {"text": "a film", "answer": "fine", "from": "b"}]
        (self.dir / "g.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        given = ("--model", "gpt2", "--task", self.dir / "pick.yaml", "--data", self.dir / "g.jsonl", "--threads", 1)
        for args in (["eval", *given], ["train", *given, "--eval", self.dir / "g.jsonl", "--adapter", "lora", "--out", self.dir / "run", "--set", "max_steps=1"]):
            done = self.assert_done(run(*args, cwd=self.root))
            self.assertIn("accuracy[\\x1b[31mred]", done.stdout)
            self.assertNotIn("\x1b", done.stdout + done.stderr)

    def test_errors_only(self):
        lines = self.lines("--columns", "id,gold,prediction,probability")
        wrong = [line for line in lines if line["gold"] != line["prediction"]]
        self.assertTrue(0 < len(wrong) < len(lines), "the toy run is neither perfect nor always wrong")
        target = self.dir / "wrong.jsonl"
        done = self.assert_done(self.predict("--out", target, "--errors", "--columns", "id,gold,prediction,probability"))
        self.assertEqual([json.loads(line) for line in target.read_text().splitlines()], wrong)
        self.assertEqual(done.stdout, f"{len(wrong)} of 30 predictions are wrong, in {target}\n")
        (self.dir / "x.jsonl").write_text('{"text": "fine", "label": "good"}\n{"text": "sad"}\n')
        self.assert_refused(self.predict("--out", "-", "--errors", data=self.dir / "x.jsonl"), 2, "x.jsonl:2: column \"label\": expected a label")

    def test_no_errors_leave_a_header(self):
        (line,) = self.lines("--columns", "prediction", data=self.write_row("fine"))
        self.assertEqual(self.written("p.csv", "--errors", data=self.write_row("fine", label=line["prediction"])), "id,prediction,probabilities.bad,probabilities.good,logits\n")
        self.assertEqual(self.written("p.json", "--errors", data=self.write_row("fine", label=line["prediction"])), "[]\n")

    def write_row(self, text, **more):
        (self.dir / "row.jsonl").write_text(json.dumps({"text": text, **more}) + "\n")
        return self.dir / "row.jsonl"

    def test_other_kinds_of_tasks(self):
        line = ("predict", "--model", "model", "--adapter", "line/adapter", "--data", "pairs.tsv", "--threads", 1, "--quiet", "--out")
        out = self.assert_done(run(*line, "-", "--columns", "id,text,second,gold,prediction", cwd=self.root)).stdout
        with open(self.root / "pairs.tsv", encoding="utf-8") as file:
            truth = list(csv.DictReader(file, delimiter="\t"))
        for told, row in zip(map(json.loads, out.splitlines()), truth, strict=True):
            self.assertEqual((told["text"], told["second"], told["gold"]), (row["first"], row["second"], float(row["score"])))
        self.assert_refused(run(*line, "-", "--errors", cwd=self.root), 2, "--errors: task \"alike\" is a regression")
        self.assert_refused(run(*line, "-", "--columns", "probability", cwd=self.root), 2, "no column \"probability\"")
        (self.dir / "c.jsonl").write_text('{"text": "the day", "answer": "sad"}\n{"text": "a film", "answer": "fine"}\n')
        pick = ("predict", "--model", "gpt2", "--task", "./choice.yaml", "--data", self.dir / "c.jsonl", "--threads", 1, "--quiet", "--out", "-")
        done = self.assert_done(run(*pick, "--columns", "text,gold,prediction,chosen,options", cwd=self.root))
        for told, gold in zip(map(json.loads, done.stdout.splitlines()), ("sad", "fine"), strict=True):
            self.assertEqual((told["gold"], told["options"], told["prediction"]), (gold, ["fine", "sad"], told["options"][told["chosen"]]))
        every = [json.loads(each) for each in done.stdout.splitlines()]
        wrong = self.assert_done(run(*pick, "--errors", "--columns", "gold", cwd=self.root)).stdout.splitlines()
        self.assertEqual(len(wrong), sum(each["gold"] != each["prediction"] for each in every))

    def test_more_rows_than_a_window(self):
        (self.dir / "many.tsv").write_text("text\n" + "".join(f"{text}\n" for text, _ in support.rows(1030, 5, longest=3)))
        lines = self.lines("--columns", "id,text,prediction", data=self.dir / "many.tsv")
        self.assertEqual([line["id"] for line in lines], list(range(1030)))
        self.assertEqual([line["text"] for line in lines], [text for text, _ in support.rows(1030, 5, longest=3)])

    def test_generate_writes_the_same_formats(self):
        common = ("generate", "--model", "gpt2", "--task", "./go-on.yaml", "--data", "rows.jsonl", "--max-new-tokens", 3, "--threads", 1, "--quiet", "--show-prompt")
        lines = [json.loads(line) for line in self.assert_done(run(*common, cwd=self.root)).stdout.splitlines()]
        self.assert_done(run(*common, "--out", self.dir / "g.csv", cwd=self.root))
        table = list(csv.DictReader(io.StringIO((self.dir / "g.csv").read_text())))
        self.assertEqual([(int(row["id"]), row["prompt"], row["output"], json.loads(row["tokens"])) for row in table],
                         [(line["id"], line["prompt"], line["output"], line["tokens"]) for line in lines])
        self.assert_done(run(*common, "--max-length", 4, "--out", self.dir / "c.csv", cwd=self.root))
        cut = [json.loads(line).get("cut") for line in self.assert_done(run(*common, "--max-length", 4, cwd=self.root)).stdout.splitlines()]
        self.assertTrue(any(cut), "some prompts are cut")
        self.assertEqual([row["cut"] for row in csv.DictReader(io.StringIO((self.dir / "c.csv").read_text()))], [str(tokens or "") for tokens in cut])
        self.assert_refused(run(*common, "--out", self.dir / "g.txt", cwd=self.root), 2, "--out", ".csv")

    def test_max_length_of_eval_is_a_flag(self):
        """It scores the rows as if they had been so short, and tells each that was cut."""
        pairs = support.rows(30, 2)
        short = support.write_tsv(self.dir / "short.tsv", [(" ".join(text.split()[:2]), label) for text, label in pairs])

        def scores(data, *more):
            done = self.assert_done(run("eval", *self.ADAPTER, "--data", data, "--quiet", "--json", "-", *more, cwd=self.root))
            return json.loads(done.stdout), done.stderr

        (cut, told), (whole, _), (shortened, nothing) = scores("data/dev.tsv", "--max-length", 4), scores("data/dev.tsv"), scores(short)
        taken = {i: len(text.split()) - 2 for i, (text, _) in enumerate(pairs) if len(text.split()) > 2}   # beside [CLS] and [SEP]
        self.assertEqual({row["id"]: row["tokens"] for row in cut["cut"]}, taken)
        self.assertEqual((cut["texts_cut"], whole["cut"]), (len(taken), []))
        self.assertIn(f"data: {len(taken)} of 30 rows cut to 4 tokens: data/dev.tsv:", told)
        self.assertNotIn("rows cut", nothing)
        self.assertAlmostEqual(cut["loss"], shortened["loss"], places=6)
        self.assertNotAlmostEqual(cut["loss"], whole["loss"], places=6)
        self.assert_refused(run("eval", *self.ADAPTER, "--data", short, "--max-length", 0, cwd=self.root), 2, "--max-length")

    def test_chats_are_written_on_and_cut_by_turns(self):
        model = self.dir / "chatty"
        model.mkdir()
        for file in ("config.json", "model.safetensors"):
            shutil.copy(TRUNKS / "gpt2-tiny" / file, model / file)
        (model / "tokenizer.json").write_text(json.dumps(letters(["<s>", "<|im_start|>", "</s>", "<|im_end|>"])), encoding="utf-8")
        (self.dir / "chat.yaml").write_text("name: chat\nkind: generation\nmessages: messages\nchat: chatml\nmetrics: [exact_match]\n")
        system, first, answer, last, gold = ({"role": role, "content": content} for role, content in
                                             (("system", "x"), ("user", "a"), ("assistant", "b"), ("user", "c"), ("assistant", "d")))
        rows = [[last], [first, answer, last], [system, first, answer, last, gold], [system, last]]
        (self.dir / "chats.jsonl").write_text("".join(json.dumps({"messages": row}) + "\n" for row in rows))

        def generate(*more):
            return run("generate", "--model", "chatty", "--task", "./chat.yaml", "--data", "chats.jsonl", "--max-new-tokens", 3, "--threads", 1, "--quiet", "--show-prompt",
                       *more, cwd=self.dir)

        done = self.assert_done(generate("--max-length", 35))   # a turn of the user takes 9 tokens, of the assistant 14, the system 11, the opened answer 11
        lines = [json.loads(line) for line in done.stdout.splitlines()]
        self.assertEqual([line["prompt"] for line in lines], [*rows[:2], rows[2][:-1], rows[3]], "without the answer that is asked for")
        self.assertEqual([line.get("cut") for line in lines], [None, 23, 23, None])
        self.assertEqual(done.stderr, "graft: prompts: 2 of 4 rows cut to 35 tokens: chats.jsonl:2 by 23 in 2 turns, chats.jsonl:3 by 23 in 2 turns\n")
        for cut, short in ((1, 0), (2, 3)):
            self.assertEqual(lines[cut]["tokens"], lines[short]["tokens"], "the model read what was left")
            self.assertAlmostEqual(lines[cut]["logprob"], lines[short]["logprob"], places=4)
        self.assert_done(generate("--max-length", 35, "--out", "chats.csv"))
        table = list(csv.DictReader(io.StringIO((self.dir / "chats.csv").read_text())))
        self.assertEqual([(json.loads(row["prompt"]), row["cut"]) for row in table], [(line["prompt"], str(line.get("cut", ""))) for line in lines])
        self.assert_refused(generate("--max-length", 25), 2,
                            'chats.jsonl:3: column "messages": the last question and what must stay beside it take 31 tokens, and max_length is 25')

    # --- standard input and output

    def test_dash_is_the_standard_input_and_output(self):
        text = (self.root / "rows.jsonl").read_text()
        done = subprocess.run(support.command("predict", *self.ADAPTER, "--data", "-", "--out", "-"), cwd=self.root, env=support.environment(), input=text,
                              capture_output=True, encoding="utf-8", timeout=60)
        self.assert_done(done)
        self.assertEqual(done.stdout, self.written("p.jsonl"))
        self.assertEqual(done.stderr, "30 predictions in /dev/stdout\n")
        self.assertFalse((self.root / "-").exists())

    def test_formats_of_the_standard_input(self):
        pairs = support.rows(30, 2)
        for name, text in (("tsv", (self.root / "data/dev.tsv").read_text()), ("csv", "text,label\n" + "".join(f'"{t}",{l}\n' for t, l in pairs)),
                           ("json", json.dumps([{"text": t, "label": l} for t, l in pairs])), ("csv", "label;text\r\n" + "".join(f"{l};{t}\r\n" for t, l in pairs))):
            with self.subTest(format=name, begins=text[:12]):
                done = subprocess.run(support.command("predict", *self.ADAPTER, "--data", "-", "--data-format", name, "--out", "-", "--columns", "id,gold,text"), cwd=self.root,
                                      env=support.environment(), input=text, capture_output=True, encoding="utf-8", timeout=60)
                self.assertEqual([(line["id"], line["text"], line["gold"]) for line in map(json.loads, self.assert_done(done).stdout.splitlines())],
                                 [(i, text, label) for i, (text, label) in enumerate(pairs)])

    def test_a_row_is_answered_before_the_next_is_there(self):
        process = subprocess.Popen(support.command("predict", *self.ADAPTER, "--data", "-", "--out", "-", "--columns", "id,text"), cwd=self.root, env=support.environment(),
                                   stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8")
        for i, text in enumerate(["a fine day", "a sad day", "the sea"]):
            process.stdin.write(json.dumps({"text": text}) + "\n")
            process.stdin.flush()
            self.assertEqual(json.loads(process.stdout.readline()), {"id": i, "text": text})
        process.stdin.write('{"text": 7}\n')
        process.stdin.close()
        self.assertEqual(process.stdout.read(), "")
        self.assertIn("/dev/stdin:4: column \"text\": expected a text, found a number 7", process.stderr.read())
        self.assertEqual(process.wait(), 2)
        process.stdout.close()
        process.stderr.close()

    def test_faults_of_the_standard_input_name_their_line(self):
        for text, part in (("", "/dev/stdin: expected rows, found an empty file"), ("{\"text\": \"a\"}\n\n{\"text\": \"b\"}\n", "/dev/stdin:2:1: expected one object a line"),
                           ("{\"text\": \"a\"}\n{\"text\": \n", "/dev/stdin:2:"), ("\xff\n", "/dev/stdin:1:1: expected UTF-8")):
            with self.subTest(text=text):
                done = subprocess.run(support.command("predict", *self.ADAPTER, "--data", "-", "--out", "-"), cwd=self.root, env=support.environment(), input=text,
                                      capture_output=True, encoding="latin-1", timeout=60)
                self.assert_refused(done, 2, part)

    def test_generate_reads_and_writes_them(self):
        common = ("generate", "--model", "gpt2", "--max-new-tokens", 3, "--threads", 1)
        def answer(*args, text):
            return self.assert_done(subprocess.run(support.command(*common, *args), cwd=self.root, env=support.environment(), input=text, capture_output=True, encoding="utf-8", timeout=60))
        told = self.assert_done(run(*common, "--prompt", "fine great", cwd=self.root)).stdout
        self.assertEqual(answer("--prompt", "-", text="fine great\n").stdout, told)
        self.assertEqual(answer("--prompt", "-", text="fine great").stdout, told)
        rows = (self.root / "rows.jsonl").read_text()
        done = answer("--data", "-", "--task", "./go-on.yaml", "--out", "-", text=rows)
        self.assertEqual(done.stdout, self.assert_done(run(*common, "--data", "rows.jsonl", "--task", "./go-on.yaml", cwd=self.root)).stdout)
        self.assertRegex(done.stderr, r"tokens/s\n$")

    def test_eval_and_inspect_and_plan(self):
        rows = (self.root / "rows.jsonl").read_text()
        def piped(*args):
            return self.assert_done(subprocess.run(support.command(*args), cwd=self.root, env=support.environment(), input=rows, capture_output=True, encoding="utf-8", timeout=60))
        done = piped("eval", *self.ADAPTER, "--data", "-", "--json", "-", "--quiet")
        self.assertEqual(json.loads(done.stdout)["rows"], 30)
        self.assertIn("accuracy", done.stderr)
        self.assertIn("30 rows", piped("inspect", "data", "--model", "model", "--task", "text:bad,good", "--data", "-").stdout)
        self.assertEqual(len(piped("inspect", "tokens", "--model", "model", "--file", "-", "--json").stdout.splitlines()), 30)
        plan = piped("plan", "--model", "model", "--adapter", "lora", "--no-timing", "--json", "-")
        self.assertGreater(json.loads(plan.stdout)["trunk_parameters"], 0)
        self.assertIn("edits together", plan.stderr)
        self.assert_refused(run("train", "--model", "model", "--task", "text:bad,good", "--data", "-", "--adapter", "lora", "--out", "no", cwd=self.root), 2, "--data -", "give a file")

    def test_two_outputs_into_one(self):
        for flags in (("--out", "x.jsonl", "--records", "x.jsonl"), ("--out", "-", "--records", "-")):
            self.assert_refused(self.predict(*flags), 2, "--out and --records both name")

    def test_one_file_spelled_in_two_ways(self):
        (self.dir / "linked").symlink_to(self.root)
        for other in ("./spelled.jsonl", f"{self.dir}/linked/spelled.jsonl", str(self.root / "spelled.jsonl")):
            self.assert_refused(self.predict("--out", "spelled.jsonl", "--records", other), 2, f"--out and --records name one file, 'spelled.jsonl' and '{other}'")
        self.assertFalse((self.root / "spelled.jsonl").exists())

    # --- what is no regular file

    def test_a_log_keeps_what_it_held(self):
        """/dev/stdout with a regular file behind it: written to where it stands, never replaced."""
        log = self.dir / "log"
        log.write_text("before\n")
        inode = log.stat().st_ino
        for out in ("/dev/stdout", "-", "/dev/fd/1", "/proc/self/fd/1"):
            with self.subTest(out=out), open(log, "ab") as appended:
                held = log.read_text()
                more = [] if out in ("-", "/dev/stdout") else ["--format", "jsonl"]
                done = subprocess.run(support.command("predict", *self.ADAPTER, "--data", "data/dev.tsv", "--quiet", "--out", out, *more), cwd=self.root, env=support.environment(),
                                      stdout=appended, stderr=subprocess.PIPE, encoding="utf-8", timeout=60)
                self.assert_done(done)
                appended.write(b"after\n")
                appended.flush()
                self.assertEqual(log.read_text(), held + self.written("p.jsonl", data="data/dev.tsv") + "after\n")
        self.assertEqual(log.stat().st_ino, inode)

    def test_a_file_that_is_open_is_written_to_where_it_stands(self):
        target = self.dir / "half"
        with open(target, "wb") as file:
            file.write(b"head\n")
            file.flush()
            done = subprocess.run(support.command("eval", *self.ADAPTER, "--data", "data/dev.tsv", "--quiet", "--json", f"/dev/fd/{file.fileno()}"), cwd=self.root,
                                  env=support.environment(), pass_fds=[file.fileno()], capture_output=True, encoding="utf-8", timeout=60)
            self.assert_done(done)
        text = target.read_text()
        self.assertTrue(text.startswith("head\n{"), text)
        self.assertEqual(json.loads(text[5:])["rows"], 30)

    def test_a_pipe_with_a_name_stays_a_pipe(self):
        pipe = self.dir / "pipe.jsonl"
        os.mkfifo(pipe)
        for args in (("predict", *self.ADAPTER, "--data", "data/dev.tsv", "--quiet", "--out", pipe), ("eval", *self.ADAPTER, "--data", "data/dev.tsv", "--quiet", "--json", pipe),
                     ("plan", "--model", "model", "--adapter", "lora", "--no-timing", "--json", pipe),
                     ("trace", "--model", "model", "--text", "the film", "--out", pipe)):
            with self.subTest(command=args[0]):
                got = []
                reader = threading.Thread(target=lambda: got.append(pipe.read_bytes()))
                reader.start()
                self.assert_done(run(*args, cwd=self.root))
                reader.join(timeout=60)
                self.assertGreater(len(got[0]), 0)
                self.assertTrue(pipe.is_fifo())
                self.assertEqual([path.name for path in self.dir.iterdir()], ["pipe.jsonl"])

    def test_rows_from_a_pipe_with_a_name(self):
        pipe = self.dir / "pipe.jsonl"
        os.mkfifo(pipe)
        writer = threading.Thread(target=lambda: pipe.write_text((self.root / "rows.jsonl").read_text()))
        writer.start()
        done = self.predict("--out", "-", "--quiet", data=pipe)
        writer.join(timeout=60)
        self.assertEqual(self.assert_done(done).stdout, self.written("p.jsonl"))

    def test_a_reader_that_leaves_ends_the_command(self):
        process = subprocess.Popen(support.command("predict", *self.ADAPTER, "--data", "data/dev.tsv", "--quiet", "--out", "-"), cwd=self.root, env=support.environment(),
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        process.stdout.close()
        stderr = process.communicate(timeout=60)[1]
        self.assertNotEqual(process.returncode, 0)
        self.assertNotIn(b"internal error", stderr)


if __name__ == "__main__":
    support.main()
