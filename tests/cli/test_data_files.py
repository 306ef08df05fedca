"""Data files as spreadsheets and archives have them: other delimiters, gzip, texts made of several columns."""

import gzip
import json
import os
import resource
import subprocess

import support
from support import run

PAIRS = [("a fine day; warm", "good"), ("a sad, cold day", "bad"), ('the "grim" road', "bad"), ("a bright\nmorning", "good"), ("the sea", "good")]


def delimited(separator, line_end="\n", header=True):
    lines = ["label" + separator + "text"] if header else []
    for text, label in PAIRS:
        must_quote = any(c in text for c in separator + '"\n')
        lines.append(label + separator + ('"' + text.replace('"', '""') + '"' if must_quote else text))
    return line_end.join(lines) + line_end


class DataFiles(support.SharedCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        support.make_model(cls.root / "model")
        (cls.root / "data").mkdir()
        support.write_tsv(cls.root / "data/train.tsv", support.rows(20, 1))
        cls.adapters = {}

    def adapter_of(self, task, name, data="data"):
        """A trained adapter of a task, made once."""
        if name not in self.adapters:
            done = run("train", "--model", "model", "--task", task, "--data", data, "--adapter", "lora", "--out", name, "--threads", 1, "--quiet", "--set", "max_steps=1", cwd=self.root)
            self.assert_done(done)
            self.adapters[name] = f"{name}/adapter"
        return self.adapters[name]

    def texts(self, path, *more, adapter=None):
        adapter = adapter or self.adapter_of("text:bad,good", "run")
        done = self.assert_done(run("predict", "--model", "model", "--adapter", adapter, "--data", path, "--out", "-", "--columns", "text,gold", "--threads", 1, "--quiet", *more, cwd=self.root))
        return [(line["text"], line["gold"]) for line in map(json.loads, done.stdout.splitlines())]

    def put(self, name, content):
        path = self.dir / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    def predict(self, path, *more):
        return run("predict", "--model", "model", "--adapter", self.adapter_of("text:bad,good", "run"), "--data", path, "--out", "-", "--threads", 1, *more, cwd=self.root)

    def test_what_separates_is_seen_in_the_first_line(self):
        for name, text in (("comma", delimited(",")), ("semicolon", delimited(";")), ("tab", delimited("\t")), ("mark", "\ufeff" + delimited(";")), ("returns", delimited(";", "\r\n"))):
            with self.subTest(name=name):
                self.assertEqual(self.texts(self.put(f"{name}.csv", text)), PAIRS)

    def test_a_comma_in_the_first_line_wins(self):
        path = self.put("x.csv", "text,label;x\nfine,1\n")
        self.assertEqual(self.texts(path), [("fine", None)])
        path = self.put("x.csv", "text\tlabel;x\nfine\tgood;1\n")   # two kinds: no guess
        self.assert_refused(self.predict(path), 2, "no column \"text\"", "text\\x09label;x")
        self.assertEqual(self.texts(self.put("x.csv", '"text";"label, or none"\n"a; b";x\n')), [("a; b", None)])   # in quotes a comma does not count
        self.assertEqual(self.texts(self.put("x.csv", "text\na; b\n")), [("a; b", None)])

    def test_excel_s_line_of_the_separator(self):
        path = self.put("x.csv", "\ufeffsep=;\r\n" + delimited(";", "\r\n"))
        self.assertEqual(self.texts(path), PAIRS)
        told = self.assert_done(run("inspect", "data", path)).stdout
        self.assertIn('text: "text"\nlabel: "label"\n', told)
        self.assertNotIn("sep=", told)

    def test_columns_without_a_name(self):
        self.assertEqual(self.texts(self.put("x.csv", 'text,label,,\n"fine; day",good,,\na sad day,bad,,\n')), [("fine; day", "good"), ("a sad day", "bad")])
        self.assert_refused(self.predict(self.put("x.csv", "text,label,,\nfine,good,,\nsad,bad,,see below\n")), 2, 'x.csv:3: field 4 holds "see below"', "name it there")

    def test_files_that_are_no_text(self):
        utf16 = self.put("x.csv", delimited(",").encode("utf-16"))
        self.assert_refused(self.predict(utf16), 2, "x.csv: expected UTF-8, found UTF-16", "iconv -f UTF-16 -t UTF-8")
        self.assert_refused(run("inspect", "data", self.put("x.xlsx", b"PK\x03\x04" + bytes(30))), 2, "an Excel workbook", "save the sheet of rows as CSV")
        self.assert_refused(self.predict(self.put("x.csv", b"PK\x03\x04" + bytes(30))), 2, "an Excel workbook", "save the sheet of rows as CSV")

    def test_rows_of_a_list_on_one_line(self):
        rows = [{"text": text, "label": label} for text, label in PAIRS]
        rows[3]["label"] = "odd"
        self.assert_refused(self.predict(self.put("x.json", json.dumps(rows))), 2, 'x.json:1: entry 4: column "label": unknown label "odd"')

    def test_standard_input_is_read_as_json_lines(self):
        command = ("predict", "--model", "model", "--adapter", self.adapter_of("text:bad,good", "run"), "--data", "-", "--out", "-", "--columns", "text", "--threads", 1, "--quiet")

        def predict(*more):
            return subprocess.run(support.command(*command, *more), cwd=self.root, env=support.environment(), input=delimited(","), capture_output=True, encoding="utf-8", timeout=60)

        self.assert_refused(predict(), 2, "/dev/stdin:1:", "are read as JSON lines: --data-format csv")
        self.assertEqual([json.loads(line)["text"] for line in self.assert_done(predict("--data-format", "csv")).stdout.splitlines()], [text for text, _ in PAIRS])

    def test_quotes_of_tsv(self):
        text = delimited("\t")
        told = self.assert_done(run("inspect", "data", self.put("x.tsv", text.replace("bright\nmorning", '""bright"" morning')), "--data-format", "tsv")).stdout
        self.assertIn("2 of 5 rows have cells in quotes, which in TSV are letters", told)
        path = self.put("x.tsv", text)
        self.assert_refused(run("inspect", "data", path), 2, "its quotes are letters", "--data-format csv, or format: csv in the task")
        self.assertEqual(self.texts(path, "--data-format", "csv"), PAIRS)

    def test_rows_of_another_width_are_refused(self):
        self.assert_refused(self.predict(self.put("x.csv", "label;text\ngood;fine;day\n")), 2, "x.csv:2: expected 2 fields (label and text), found 3",
                            "a field with a semicolon or a line break is written in quotes", "delimiter:")
        self.assert_refused(self.predict(self.put("x.csv", "label;text\ngood,fine\n")), 2, "x.csv:2: expected 2 fields (label and text), found 1")
        self.assert_refused(self.predict(self.put("x.csv", 'label;text\n"good",fine\n')), 2, "x.csv:2:7: expected a semicolon or the end of the line after a closing quote")

    def task(self, name, **keys):
        node = {"name": name, "text": "text", "label": "label", "labels": ["bad", "good"], **keys}
        (self.root / f"{name}.yaml").write_text("".join(f"{key}: {json.dumps(value)}\n" for key, value in node.items()))
        return f"./{name}.yaml"

    def test_delimiter_of_the_task(self):
        (self.root / "bars.csv").write_text(delimited("|"))
        adapter = self.adapter_of(self.task("bars", delimiter="|"), "bars-run", "bars.csv")
        self.assertEqual(self.texts(self.put("x.csv", delimited("|")), adapter=adapter), PAIRS)
        self.assertIn('"delimiter": "|"', (self.root / adapter / "adapter.json").read_text())
        (self.root / "nohead.csv").write_text(delimited("\t", header=False))
        adapter = self.adapter_of(self.task("nohead", delimiter="\t", columns=["label", "text"]), "nohead-run", "nohead.csv")
        self.assertEqual(self.texts(self.put("x.csv", delimited("\t", header=False)), adapter=adapter), PAIRS)
        (self.root / "seen.csv").write_text(delimited(";", header=False))
        adapter = self.adapter_of(self.task("seen", columns=["label", "text"]), "seen-run", "seen.csv")   # by the number of columns
        self.assertEqual(self.texts(self.put("x.csv", delimited(";", header=False)), adapter=adapter), PAIRS)

    def test_delimiters_that_are_none(self):
        for value in (",,", "", '"', "a", "\n", " "):
            with self.subTest(delimiter=value):
                self.assert_refused(run("train", "--model", "model", "--task", self.task("wrong", delimiter=value), "--data", "data", "--adapter", "lora", "--out", "no", cwd=self.root), 2,
                                    "/delimiter: expected one character that separates fields")
        self.assert_refused(run("train", "--model", "model", "--task", self.task("wrong", delimiter=";", format="tsv"), "--data", "data", "--adapter", "lora", "--out", "no", cwd=self.root), 2,
                            "/delimiter: only CSV has one to choose")

    def test_gzip(self):
        jsonl = "".join(json.dumps({"text": text, "label": label}) + "\n" for text, label in PAIRS)
        for name, text in (("x.jsonl.gz", jsonl), ("x.json.gz", json.dumps([json.loads(line) for line in jsonl.splitlines()])), ("x.csv.gz", delimited(",")), ("y.csv.GZ", delimited(";"))):
            with self.subTest(name=name):
                self.assertEqual(self.texts(self.put(name, gzip.compress(text.encode()))), PAIRS)
        self.assertEqual(self.texts(self.put("no_ending.jsonl", gzip.compress(jsonl.encode()))), PAIRS)
        several = b"".join(gzip.compress(line.encode()) for line in jsonl.splitlines(keepends=True)) + b"\0" * 20
        self.assertEqual(self.texts(self.put("several.jsonl.gz", several)), PAIRS)
        with open(self.put("x.jsonl.gz", gzip.compress(jsonl.encode())), "rb") as packed:
            done = subprocess.run(support.command("predict", "--model", "model", "--adapter", "run/adapter", "--data", "-", "--out", "-", "--columns", "text", "--threads", 1),
                                                cwd=self.root, env=support.environment(), stdin=packed, capture_output=True, encoding="utf-8", timeout=60)
        self.assertEqual([json.loads(line)["text"] for line in self.assert_done(done).stdout.splitlines()], [text for text, _ in PAIRS])

    def test_gzip_in_a_folder_and_everywhere(self):
        folder = self.dir / "packed"
        folder.mkdir()
        for part, count in (("train", 20), ("dev", 10)):
            support.write_tsv(self.dir / "plain.tsv", support.rows(count, 3))
            (folder / f"{part}.tsv.gz").write_bytes(gzip.compress((self.dir / "plain.tsv").read_bytes()))
        self.assert_done(run("train", "--model", "model", "--task", "text:bad,good", "--data", folder, "--adapter", "lora", "--out", self.dir / "run", "--threads", 1, "--quiet",
                             "--set", "max_steps=1", cwd=self.root))
        self.assertEqual(json.loads((self.dir / "run/metrics.json").read_text())["eval"]["rows"], 10)
        self.assert_done(run("eval", "--model", "model", "--adapter", self.dir / "run/adapter", "--data", folder / "dev.tsv.gz", "--quiet", cwd=self.root))
        told = self.assert_done(run("inspect", "data", "--model", "model", "--task", "text:bad,good", "--data", folder / "dev.tsv.gz", cwd=self.root)).stdout
        self.assertIn("10 rows", told)

    def test_gzip_that_is_damaged(self):
        packed = gzip.compress(b'{"text": "a fine day"}\n' * 50)
        for name, content, part in (("cut.jsonl.gz", packed[:-9], "the gzip data end too early"), ("wrong.jsonl.gz", packed[:-6] + b"\0\0\0\0\0\0", "damaged gzip data"),
                                    ("middle.jsonl.gz", packed[:15] + b"\xff\xff\xff\xff" + packed[19:], "gzip data"), ("plain.jsonl.gz", b'{"text": "a"}\n', "expected gzip data"),
                                    ("more.jsonl.gz", packed + b"rest", "expected gzip data"), ("empty.jsonl.gz", b"", "expected gzip data"),
                                    ("inside.jsonl.gz", gzip.compress(b"\xff\xff"), "inside.jsonl.gz:1:1: expected UTF-8"), ("none.jsonl.gz", gzip.compress(b""), "expected rows, found an empty file")):
            with self.subTest(name=name):
                self.assert_refused(self.predict(self.put(name, content)), 2, name, part)

    def test_other_archives_are_refused_by_name(self):
        for name in ("x.csv.zst", "x.csv.xz", "x.zip", "x.tsv.bz2"):
            path = self.put(name, b"\x28\xb5\x2f\xfd")
            self.assert_refused(self.predict(path), 2, name, "unpack the file first, or pack it with gzip")
            self.assert_refused(run("inspect", "data", path), 2, name, "unpack the file first, or pack it with gzip")
        path = self.put("x.parquet", b"PAR1\x15\x04")
        for done in (self.predict(path), run("inspect", "data", path)):
            self.assert_refused(done, 2, "x.parquet", "with pandas: read_parquet(FILE).to_json(")

    def test_a_file_that_does_not_fit_in_memory(self):
        """It is named with its size: nothing that a run could set makes room for it."""
        path = self.dir / "sparse.jsonl"
        path.touch()
        os.truncate(path, 40 << 30)   # takes no room on the disk
        limit = 2500 << 20   # of addresses
        done = run("train", "--model", "model", "--task", "text:bad,good", "--data", path, "--adapter", "lora", "--out", "no", cwd=self.root,
                   preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (limit, limit)))
        self.assert_refused(done, 3, "sparse.jsonl': there is no memory for its 42.95 GB")
        self.assertNotIn("batch_size", done.stderr)

    def test_texts_of_several_columns(self):
        rows = [{"premise": "a fine day ", "hypothesis": "The sun.", "n": 3, "label": "good"}, {"premise": "rain", "hypothesis": "A cold walk", "n": 4, "label": "bad"}]
        (self.root / "nli.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        task = self.task("nli", text="{premise|strip} ... {hypothesis|no_final_punctuation|lower_first} ({n})")
        adapter = self.adapter_of(task, "nli-run", "nli.jsonl")
        self.assertEqual(self.texts("nli.jsonl", adapter=adapter), [("a fine day ... the sun (3)", "good"), ("rain ... a cold walk (4)", "bad")])
        (self.dir / "plain.jsonl").write_text("".join(json.dumps({"text": text, "label": gold}) + "\n" for text, gold in self.texts("nli.jsonl", adapter=adapter)))
        shown = [self.assert_done(run("inspect", "data", "--model", "model", "--task", each, "--data", data, "--json", cwd=self.root)).stdout
                 for each, data in ((task, "nli.jsonl"), ("text:bad,good", self.dir / "plain.jsonl"))]
        self.assertEqual(*shown)
        pair = self.adapter_of(self.task("pair", text="{premise|strip}", second="It is said: {hypothesis}"), "pair-run", "nli.jsonl")
        done = self.assert_done(run("predict", "--model", "model", "--adapter", pair, "--data", "nli.jsonl", "--out", "-", "--columns", "text,second,n", "--threads", 1, "--quiet", cwd=self.root))
        self.assertEqual([tuple(json.loads(line).values()) for line in done.stdout.splitlines()],
                         [("a fine day", "It is said: The sun.", 3), ("rain", "It is said: A cold walk", 4)])

    def test_templates_that_are_wrong(self):
        for keys, part in (({"text": "{premise"}, "/text: a '{' is never closed"), ({"text": "{text|upper}"}, '/text: unknown filter "upper"'), ({"text": ""}, "/text: expected a column's name"),
                           ({"text": "{text} is {label}"}, '/label: the text shows the column "label", the answer'), ({"second": "so {label}"}, "/label: the text shows the column"),
                           ({"text": "label"}, "/label: the label is the same column as the text"), ({"text": "{a}", "second": "{a}"}, "/second: the second text is the same"),
                           ({"text": "{a} {b}", "columns": ["a", "label"]}, '/text: "b" is not in columns')):
            with self.subTest(keys=keys):
                self.assert_refused(run("train", "--model", "model", "--task", self.task("wrong", **keys), "--data", "data", "--adapter", "lora", "--out", "no", cwd=self.root), 2, part)
        self.assert_refused(run("train", "--model", "model", "--task", self.task("wrong", text="so {txet}"), "--data", "data", "--adapter", "lora", "--out", "no", cwd=self.root), 2,
                            'no column "txet" for the text of task \'wrong\' (did you mean \'text\'?)')


if __name__ == "__main__":
    support.main()
