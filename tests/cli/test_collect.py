"""graft collect and graft steer: vectors beside rows, and an adapter of the difference of two labels' means. Judged by graft trace,
whose hidden states are those of transformers (test_trace.py).
"""

import json

import support
from support import run

TOY = support.SOURCE / "examples/toy"
TASK = "text:no,yes"
CLOSE = 1e-5  # float32, texts packed together or alone


class Collect(support.Case):
    def setUp(self):
        super().setUp()
        lines = (TOY / "dev.tsv").read_text().splitlines()
        self.lines = lines[:7]
        (self.dir / "rows.tsv").write_text("\n".join(self.lines) + "\n")
        self.texts = [line.split("\t")[0] for line in self.lines[1:]]
        self.labels = [line.split("\t")[1] for line in self.lines[1:]]

    def hidden(self, text, *more):
        """What leaves block 0, a list a token."""
        out = self.dir / "trace.safetensors"
        self.assert_done(run("trace", "--model", TOY / "model", "--text", text, "--out", out, *more))
        tensor = support.read_safetensors(out)["hidden.1"]
        values, width = support.floats(tensor), tensor[1][1]
        return [values[i:i + width] for i in range(0, len(values), width)]

    def collect(self, *more):
        out = self.dir / "out.jsonl"
        self.assert_done(run("collect", "--model", TOY / "model", "--task", TASK, "--data", self.dir / "rows.tsv", "--sites", "out",
                             "--layers", "0", "--out", out, *more))
        return [json.loads(line) for line in out.read_text().splitlines()]

    def assert_near(self, found, expected):
        self.assertEqual(len(found), len(expected))
        for a, b in zip(found, expected):
            self.assertAlmostEqual(a, b, delta=CLOSE)

    def test_vectors_stand_beside_the_rows(self):
        last, mean = self.collect(), self.collect("--positions", "all", "--column", "states")
        self.assertEqual([row["text"] for row in last], self.texts)
        self.assertEqual([row["label"] for row in last], self.labels)
        for text, one, other in zip(self.texts, last, mean):
            states = self.hidden(text)
            self.assert_near(one["embedding"], states[-1])
            self.assert_near(other["states"], [sum(column) / len(column) for column in zip(*states)])

    def test_steering_adds_the_difference_of_the_means(self):
        rows = self.collect()
        means = {label: [sum(c) / len(c) for c in zip(*(r["embedding"] for r in rows if r["label"] == label))] for label in ("no", "yes")}
        self.assert_done(run("steer", "--model", TOY / "model", "--task", TASK, "--data", self.dir / "rows.tsv", "--sites", "out",
                             "--layers", "0", "--towards", "yes", "--from", "no", "--strength", "2.5", "--out", self.dir / "warm"))
        shift = [2.5 * (a - b) for a, b in zip(means["yes"], means["no"])]
        plain, steered = self.hidden(self.texts[0]), self.hidden(self.texts[0], "--adapter", self.dir / "warm")
        for before, after in zip(plain, steered):
            self.assert_near(after, [a + b for a, b in zip(before, shift)])

    def test_sources_train_an_interchange(self):
        self.collect()
        (self.dir / "task.yaml").write_text('name: t\ntext: text\nlabel: label\nlabels: ["no", "yes"]\nembedding: embedding\n')
        (self.dir / "das.yaml").write_text("edits:\n  - interchange: {sites: [out], layers: [0], space: low_rank, rank: 2}\n")
        self.assert_done(run("train", "--model", TOY / "model", "--adapter", self.dir / "das.yaml", "--task", self.dir / "task.yaml",
                             "--data", self.dir / "out.jsonl", "--out", self.dir / "run", "--set", "max_steps=2", "--quiet"))

    def test_what_cannot_be_written_is_told_before_states_are_computed(self):
        rows = ["collect", "--model", TOY / "model", "--task", TASK, "--sites", "out", "--layers", "0"]
        refused = run(*rows, "--data", self.dir / "rows.tsv", "--column", "label", "--out", self.dir / "none/out.jsonl")
        self.assert_refused(refused, 3, "none/out.jsonl", "No such file or directory")
        (self.dir / "rows.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in ("we saw", "a\nfilm")))
        refused = run(*rows, "--data", self.dir / "rows.jsonl", "--format", "tsv", "--out", "-")
        self.assert_refused(refused, 2, "rows.jsonl:2: TSV cannot hold a tab or a line break", "write CSV or JSONL")
        self.assertEqual(refused.stdout, "")

    def test_refusals(self):
        rows = ["--model", TOY / "model", "--data", self.dir / "rows.tsv", "--sites", "out", "--layers", "0"]
        collect = ["collect", *rows, "--out", self.dir / "out.jsonl"]
        steer = ["steer", *rows, "--task", TASK, "--out", self.dir / "warm", "--from", "no"]
        for arguments, words in (
                (collect, ["--task: missing"]),
                ([*collect, "--task", TASK, "--column", "label"], ["--column", 'has a column "label" already']),
                ([*collect, "--task", TASK, "--layers", "9"], ["layers: expected numbers in 0..1 (or -1 for the last), found 9"]),
                ([*collect, "--task", TASK, "--sites", "pooler"], ["--sites: the pooler lies under a head"]),
                ([*steer, "--towards", "yes", "--sites", "pooler"], ["--sites: the pooler lies under a head"]),
                ([*steer, "--towards", "yes", "--strength", "nan"], ["--strength: expected a number, found nan"]),
                ([*steer, "--towards", "yes", "--strength", "1e300"], ["--strength: the shifts are not finite"]),
                ([*steer, "--towards", "maybe"], ["--towards: unknown label", "there are no and yes"])):
            result = run(*arguments)
            self.assertEqual(result.returncode, 2, result)
            for word in words:
                self.assertIn(word, result.stderr)


if __name__ == "__main__":
    support.main()
