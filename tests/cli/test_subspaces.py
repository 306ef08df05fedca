"""Rows of data that name the rows of ReFT's projection that act for them: train, eval, predict, generate and sweep, and what is
refused, with its file and row."""

import json

import support
from support import run
from test_generate import make_decoder

REFT = "edits:\n  - reft: {rank: 4, positions: f2+l1, clamp: length}\n"


class Subspaces(support.SharedCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        support.make_model(cls.root / "bert")
        make_decoder(cls.root / "gpt2")
        (cls.root / "reft.yaml").write_text(REFT)
        (cls.root / "task.yaml").write_text("name: moods\ntext: text\nlabel: label\nlabels: [bad, good]\nsubspace: rows\n")
        (cls.root / "go-on.yaml").write_text(support.GO_ON_TASK + "subspace: rows\n")
        cls.pairs = support.rows(40, 1)
        cls.tsv(cls.root / "train.tsv", ["0 1" if label == "good" else "2,3" for _, label in cls.pairs])
        cls.train("bert", "task.yaml", "train.tsv", "run")
        (cls.root / "data").mkdir()
        for part in ("train", "dev"):
            (cls.root / "data" / f"{part}.tsv").write_text((cls.root / "train.tsv").read_text())

    @classmethod
    def tsv(cls, path, named):
        path.write_text("text\tlabel\trows\n" + "".join(f"{text}\t{label}\t{rows}\n" for (text, label), rows in zip(cls.pairs, named)))
        return path

    @classmethod
    def train(cls, model, task, data, out, *more, adapter="reft.yaml"):
        done = run("train", "--model", model, "--task", "./" + task, "--data", data, "--adapter", "./" + adapter if "." in adapter else adapter,
                   "--out", out, "--threads", 1, "--quiet", "--set", "max_steps=3", "learning_rate=1e-2", *more, cwd=cls.root)
        return done

    def answers(self, named, *more, adapter="run/adapter"):
        """Scores of all rows where the n-th names `named`; None: without the column."""
        path = self.dir / "rows.jsonl"
        path.write_text("".join(json.dumps({"text": text} | ({} if named is None else {"rows": named})) + "\n" for text, _ in self.pairs))
        done = self.assert_done(run("predict", "--model", "bert", "--adapter", adapter, "--data", path, "--out", "-", "--threads", 1,
                                    "--quiet", *more, cwd=self.root))
        return [json.loads(line) for line in done.stdout.splitlines()]

    def test_training_keeps_the_column_in_the_task(self):
        self.assertEqual(json.loads((self.root / "run/adapter/adapter.json").read_text())["task"]["subspace"], "rows")

    def test_predictions_go_through_what_a_row_names(self):
        everything = self.answers(None)
        self.assertEqual(self.answers([0, 1, 2, 3]), everything, "a union of all is all")
        self.assertEqual(self.answers("3 2 1 0"), everything)
        some = self.answers([0, 1])
        self.assertNotEqual(some, everything)
        self.assertNotEqual(self.answers([2, 3]), some)
        self.assertEqual(self.answers("0,1"), some)

    def test_evaluation_reads_it_as_training_does(self):
        scores = {}
        for name, named in (("as-trained", ["0 1" if label == "good" else "2 3" for _, label in self.pairs]),
                            ("union", ["0 1 2 3"] * 40), ("none", [""] * 40)):
            path = self.tsv(self.dir / f"{name}.tsv", named)
            self.assert_done(run("eval", "--model", "bert", "--adapter", "run/adapter", "--data", path, "--json", self.dir / "scores.json",
                                 "--threads", 1, "--quiet", cwd=self.root))
            scores[name] = json.loads((self.dir / "scores.json").read_text())["loss"]
        self.assertEqual(scores["union"], scores["none"])
        self.assertNotEqual(scores["as-trained"], scores["union"])

    def test_bfloat16(self):
        self.assert_done(self.train("bert", "task.yaml", "train.tsv", self.dir / "narrow", "precision=bf16"))

    def test_a_study_reads_it(self):
        (self.dir / "study.yaml").write_text(
            f"study: subspaces\nmodel: {self.root}/bert\nmethods:\n  reft: {{adapter: {self.root}/reft.yaml}}\n"
            f"tasks:\n  moods: {{task: {self.root}/task.yaml, data: {self.root}/data}}\n"
            "set: {max_steps: 3, learning_rate: 1e-2}\ngrid: {seed: [1, 2]}\n")
        done = self.assert_done(run("sweep", self.dir / "study.yaml", "--out", self.dir / "study", "--threads", 1, "--quiet", cwd=self.root))
        self.assertIn("done: 2 of 2", done.stdout)
        refused = (self.dir / "study.yaml").read_text().replace(f"{self.root}/reft.yaml", "lora")
        (self.dir / "study.yaml").write_text(refused)
        self.assert_refused(run("sweep", self.dir / "study.yaml", "--out", self.dir / "none", "--threads", 1, "--quiet", cwd=self.root), 2,
                            "no edit of the adapter acts in a subspace")

    def test_a_decoder_trains_and_writes(self):
        rows = [{"text": text, "answer": "kind brave" if label == "good" else "cruel", "rows": [0, 1] if label == "good" else [2, 3]}
                for text, label in self.pairs[:12]]
        data = self.dir / "rows.jsonl"
        data.write_text("".join(json.dumps(row) + "\n" for row in rows))
        self.assert_done(self.train("gpt2", "go-on.yaml", data, self.dir / "written"))

        def written(named):
            path = self.dir / "prompts.jsonl"
            path.write_text("".join(json.dumps({"text": row["text"]} | ({} if named is None else {"rows": named})) + "\n" for row in rows))
            done = self.assert_done(run("generate", "--model", "gpt2", "--adapter", self.dir / "written/adapter", "--data", path,
                                        "--max-new-tokens", 4, "--threads", 1, "--quiet", cwd=self.root))
            return [json.loads(line)["logprob"] for line in done.stdout.splitlines()]

        everything = written(None)
        self.assertEqual(written([3, 0, 1, 2]), everything)
        self.assertNotEqual(written([0, 1]), everything)
        self.assert_done(run("eval", "--model", "gpt2", "--adapter", self.dir / "written/adapter", "--data", data, "--threads", 1, "--quiet",
                             cwd=self.root))
        self.assert_refused(run("generate", "--model", "gpt2", "--adapter", self.dir / "written/adapter", "--data",
                                self.put("high.jsonl", json.dumps({"text": "fine", "rows": [4]}) + "\n"), "--threads", 1, cwd=self.root), 2,
                            "high.jsonl:1: subspace: expected rows that the adapter has, 0..3, found 4")

    def put(self, name, text):
        (self.dir / name).write_text(text)
        return self.dir / name

    def test_refusals_name_the_row(self):
        beyond = self.tsv(self.dir / "beyond.tsv", ["0"] * 39 + ["4"])
        for result, part in (
                (self.train("bert", "task.yaml", beyond, self.dir / "no"), "beyond.tsv:41: subspace: expected rows that the adapter has, 0..3, found 4"),
                (self.train("bert", "task.yaml", self.tsv(self.dir / "wrong.tsv", ["x"] * 40), self.dir / "no"),
                 'wrong.tsv:2: column "rows": expected rows of a subspace, counted from 0, such as 0 1 2 or 0,1,2, found "x"'),
                (self.train("bert", "task.yaml", "train.tsv", self.dir / "no", adapter="lora"), "no edit of the adapter acts in a subspace"),
                (run("predict", "--model", "bert", "--adapter", "run/adapter", "--data", beyond, "--out", "-", cwd=self.root),
                 "beyond.tsv:41: subspace: expected rows that the adapter has, 0..3, found 4"),
                (run("eval", "--model", "bert", "--adapter", "run/adapter", "--data", beyond, cwd=self.root), "beyond.tsv:41: subspace"),
                (self.train("bert", "task.yaml", self.put("none.tsv", "text\tlabel\na\tgood\nb\tbad\n"), self.dir / "no"),
                 'no column "rows" for the subspace of task \'moods\'')):
            self.assert_refused(result, 2, part)
        self.assertFalse((self.dir / "no").exists())
        self.assert_done(self.train("bert", "task.yaml", "train.tsv", self.dir / "without", "task_options.subspace=null", adapter="lora"))
        done = self.assert_done(run("predict", "--model", "bert", "--adapter", "run/adapter", "--data", beyond, "--out", "-", "--on-error", "skip",
                                    cwd=self.root))
        self.assertEqual(len(done.stdout.splitlines()), 39)


if __name__ == "__main__":
    support.main()
