"""--on-error skip: rows that cannot be read or encoded are left out, told by line and reason, and written to --skipped."""

import json
import subprocess

import support
from support import run
from test_generate import make_decoder


class Skipped(support.SharedCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        support.make_model(cls.root / "model")
        make_decoder(cls.root / "gpt2")
        support.write_tsv(cls.root / "train.tsv", support.rows(40, 1))
        (cls.root / "task.yaml").write_text("name: mood\nkind: classification\ntext: text\nlabel: label\nlabels: [bad, good]\nid: key\nmetrics: [accuracy]\n")
        (cls.root / "go-on.yaml").write_text(support.GO_ON_TASK)
        done = run("train", "--model", "model", "--task", "./task.yaml", "--data", "train.tsv", "--adapter", "lora", "--out", "run", "--threads", 1, "--quiet",
                   "--set", "max_steps=2", cwd=cls.root)
        assert done.returncode == 0, done.stderr

    def predict(self, data, *more, out=None, **settings):
        return run("predict", "--model", "model", "--adapter", "run/adapter", "--data", data, "--out", out or self.dir / "p.jsonl", "--threads", 1, *more, cwd=self.root,
                   **settings)

    def file(self, name, content):
        path = self.dir / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    def lines(self, name):
        return [json.loads(line) for line in (self.dir / name).read_text(encoding="utf-8").splitlines()]

    BAD = "\n".join(['{"key": "a", "text": "a fine day"}', '{"key": "b", "text": null}', '{"key": "c", "text": "a sad day"', '[1]', "", '{"key": 7, "text": "the sea"}',
                     '{"key": "e", "text": "the sea", "label": "odd"}', '{"key": "", "text": "a stone"}', '{"text": "a bird"}']) + "\n"
    REASONS = {1: ('"b"', 'column "text": expected a text, found null'), 2: ("2", "not valid JSON"), 3: ("3", "expected one object a line, found a list"),
               4: ("4", "found a blank line"), 6: ('"e"', 'unknown label "odd"'), 7: ("7", "expected an id, found an empty field")}

    def test_json_lines(self):
        data = self.file("x.jsonl", self.BAD)
        done = self.assert_done(self.predict(data, "--on-error", "skip", "--skipped", self.dir / "s.jsonl"))
        self.assertEqual([line["id"] for line in self.lines("p.jsonl")], ["a", 7, 8], "rows keep their numbers")
        self.assertEqual(done.stdout, f"3 predictions in {self.dir}/p.jsonl; 6 rows skipped\n")
        skipped = self.lines("s.jsonl")
        self.assertEqual([(line["line"] - 1, json.dumps(line["id"])) for line in skipped], [(row, name) for row, (name, _) in self.REASONS.items()])
        for line, (_, reason) in zip(skipped, self.REASONS.values()):
            self.assertIn(reason, line["reason"])
            self.assertTrue(line["reason"].startswith(f"{data}:{line['line']}:"), line)
        told = done.stderr.splitlines()
        self.assertEqual([line.partition(": skipped: ")[2] for line in told if ": skipped: " in line],
                         [line["reason"] for line in skipped[:5]] + [f"1 more row; all are in {self.dir}/s.jsonl"])

    def test_the_rest_is_answered_as_without_them(self):
        data = self.file("x.jsonl", self.BAD)
        good = self.file("good.jsonl", "".join(line + "\n" for row, line in enumerate(self.BAD.splitlines()) if row not in self.REASONS))
        self.assert_done(self.predict(data, "--on-error", "skip"))
        answers = self.lines("p.jsonl")
        self.assert_done(self.predict(good))
        self.assertEqual([line["logits"] for line in answers], [line["logits"] for line in self.lines("p.jsonl")])

    def test_stop_is_the_default(self):
        data = self.file("x.jsonl", '{"text": "fine"}\n{"text": null}\n')
        for more in ([], ["--on-error", "stop"]):
            self.assert_refused(self.predict(data, *more), 2, "x.jsonl:2: column \"text\": expected a text, found null")
            self.assertFalse((self.dir / "p.jsonl").exists())
        self.assert_refused(self.predict(data, "--skipped", self.dir / "s.jsonl"), 2, "--skipped", "--on-error skip")
        self.assert_refused(self.predict(data, "--on-error", "skip", "--skipped", self.dir / "p.jsonl"), 2, "--out and --skipped both name")
        self.assert_refused(self.predict(data, "--on-error", "skip", "--skipped", data), 2, "--skipped", "is the file of --data")
        self.assert_refused(self.predict(data, "--on-error", "ignore"), 2, "--on-error", "ignore")

    def test_every_format(self):
        for name, content, kept, lines in (
                ("x.tsv", b"key\ttext\na\tfine\nb\tsad\tmore\nc\n\xffd\tsad\ne\tsad\n", ["a", "e"], [3, 4, 5]),
                ("x.csv", b'key,text\na,"fine\nday"\nb\nc,\xff\nd,"sad,"\n', ["a", "d"], [4, 5]),
                ("x.jsonl", b'{"key": "a", "text": "fine"}\n{"key": "\xff"}\n{"key": "c", "text": "\\u0000"}\n{"key": "d", "text": "sad"}', ["a", "d"], [2, 3]),
                ("x.json", b'[{"key": "a", "text": "fine"},\n{"key": "b", "text": 3}, {"key": "c"},\n{"key": "d", "text": "sad"}]', ["a", "d"], [2, 2])):
            with self.subTest(name=name):
                done = self.assert_done(self.predict(self.file(name, content), "--on-error", "skip", "--skipped", self.dir / "s.jsonl"))
                self.assertEqual([line["id"] for line in self.lines("p.jsonl")], kept)
                self.assertEqual([line["line"] for line in self.lines("s.jsonl")], lines)
                self.assertIn(f"; {len(lines)} rows skipped", done.stdout)

    def test_what_leaves_rows_in_doubt_stops(self):
        for name, content, part in (("x.csv", 'key,text\na,fine\nb,"sad\nc,sad\n', "x.csv:3:3: this quote is never closed"), ("x.csv", "a,a\n1,2\n", 'column "a" appears twice'),
                                    ("x.json", '[{"text": "fine"}, {]', "x.json:1:21: not valid JSON")):
            with self.subTest(name=name, content=content):
                self.assert_refused(self.predict(self.file(name, content), "--on-error", "skip"), 2, part)

    def test_no_row_is_left(self):
        for content in ('{"text": null}\n{"text": null}\n', '{"txt": "fine"}\n{"txt": "sad"}\n'):
            done = self.predict(self.file("x.jsonl", content), "--on-error", "skip", "--skipped", self.dir / "s.jsonl")
            self.assertEqual(done.returncode, 2, done.stderr)
            first = done.stderr.splitlines()[0].removeprefix("graft: skipped: ")
            self.assertEqual(f"graft: --on-error skip: of 2 rows none can be answered; the first: {first}; all are in '{self.dir / 's.jsonl'}'", done.stderr.splitlines()[2])
            self.assertFalse((self.dir / "p.jsonl").exists())
            self.assertEqual([line["line"] for line in self.lines("s.jsonl")], [1, 2])
            (self.dir / "s.jsonl").unlink()

    def test_a_fault_of_the_task_is_none_of_its_rows(self):
        (self.root / "chat.yaml").write_text("name: c\nkind: generation\nprompt: text\ntarget: answer\nmetrics: [perplexity]\nchat: chatml\n")
        done = run("predict", "--model", "model", "--task", "./chat.yaml", "--data", self.file("x.jsonl", '{"text": "fine"}\n'), "--out", "-", "--on-error", "skip", cwd=self.root)
        self.assert_refused(done, 2)
        self.assertNotIn("skipped", done.stderr)

    def test_rows_that_come(self):
        done = subprocess.run(support.command("predict", "--model", "model", "--adapter", "run/adapter", "--data", "-", "--out", "-", "--on-error", "skip", "--skipped",
                                              self.dir / "s.jsonl"), cwd=self.root, env=support.environment(), input=self.BAD, capture_output=True, encoding="utf-8", timeout=60)
        self.assert_done(done)
        self.assertEqual([json.loads(line)["id"] for line in done.stdout.splitlines()], ["a", 7, 8])
        self.assertEqual([line["line"] - 1 for line in self.lines("s.jsonl")], list(self.REASONS))
        self.assertTrue(done.stderr.endswith("3 predictions in /dev/stdout; 6 rows skipped\n"), done.stderr)

    def test_many_rows_in_windows(self):
        """Columns that come late, and faults in several windows."""
        rows = [{"text": text} for text, _ in support.rows(2600, 3, longest=3)]
        rows[2500]["key"] = "late"
        rows[2590]["extra"] = 1
        lines = [json.dumps(row) for row in rows]
        for bad in (0, 1023, 1024, 2047, 2599):
            lines[bad] = '{"text": 1}'
        self.assert_done(self.predict(self.file("x.jsonl", "\n".join(lines)), "--on-error", "skip", "--columns", "id,key,extra,text"))
        found = self.lines("p.jsonl")
        self.assertEqual([line["text"] for line in found], [row["text"] for i, row in enumerate(rows) if lines[i] != '{"text": 1}'])
        self.assertEqual([line["id"] for line in found[:3] + found[-1:]], [1, 2, 3, 2598])
        self.assertEqual({line["id"]: (line["key"], line["extra"]) for line in found if line["key"] or line["extra"]}, {"late": ("late", None), 2590: (None, 1)})

    def test_rows_cut_are_told_once(self):
        texts = [" ".join(["fine"] * (30 if i % 700 == 0 else 2)) for i in range(2200)]
        data = self.file("x.jsonl", "".join(json.dumps({"text": text}) + "\n" for text in texts))
        done = self.assert_done(self.predict(data, "--max-length", 12))
        self.assertEqual(done.stderr.count("rows cut to 12 tokens"), 1)
        self.assertIn(f"graft: data: 4 of 2,200 rows cut to 12 tokens: {data}:1 by 20, {data}:701 by 20, {data}:1401 by 20, {data}:2101 by 20\n", done.stderr)

    def test_generate(self):
        rows = ['{"text": "fine great"}', '{"text": null}', '{"text": "the sea"}', "{", '{"text": "a film"}']
        data = self.file("x.jsonl", "\n".join(rows) + "\n")
        common = ("generate", "--model", "gpt2", "--task", "./go-on.yaml", "--max-new-tokens", 3, "--threads", 1, "--data", data)
        self.assert_refused(run(*common, cwd=self.root), 2, "x.jsonl:4:")
        done = self.assert_done(run(*common, "--on-error", "skip", "--skipped", self.dir / "s.jsonl", cwd=self.root))
        self.assertEqual([json.loads(line)["id"] for line in done.stdout.splitlines()], [0, 2, 4])
        self.assertEqual([line["id"] for line in self.lines("s.jsonl")], [1, 3])
        self.assertTrue(done.stderr.endswith("tokens/s; 2 rows skipped\n"), done.stderr)
        self.assert_refused(run("generate", "--model", "gpt2", "--prompt", "fine", "--on-error", "skip", cwd=self.root), 2, "--on-error", "--data")

    def test_eval(self):
        rows = [{"text": text, "label": label} for text, label in support.rows(30, 4)]
        common = ("eval", "--model", "model", "--adapter", "run/adapter", "--threads", 1, "--quiet", "--json", "-")
        whole = json.loads(self.assert_done(run(*common, "--data", self.file("good.jsonl", "".join(json.dumps(row) + "\n" for row in rows)), cwd=self.root)).stdout)
        self.assertNotIn("skipped", whole)
        rows[7:7] = [{"text": None, "label": "bad"}, {"text": "fine"}, {"text": "fine", "label": "odd"}]
        data = self.file("x.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
        self.assert_refused(run(*common, "--data", data, cwd=self.root), 2, "x.jsonl:9: column \"label\": expected a label")
        done = self.assert_done(run(*common, "--data", data, "--on-error", "skip", "--skipped", self.dir / "s.jsonl", cwd=self.root))
        scores = json.loads(done.stdout)
        self.assertEqual((scores["rows"], scores["skipped"], scores["accuracy"], scores["loss"]), (30, 3, whole["accuracy"], whole["loss"]))
        self.assertEqual([line["id"] for line in self.lines("s.jsonl")], [7, 8, 9])
        self.assertIn("skipped      3\n", done.stderr)
        self.assert_refused(run(*common, "--data", data, "--skipped", self.dir / "s.jsonl", cwd=self.root), 2, "--skipped", "--on-error skip")


if __name__ == "__main__":
    support.main()
