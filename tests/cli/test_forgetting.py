"""What a model forgets, from outside: what a run measures of plain text is what eval measures of its adapter and of the bare model."""

import json
import shutil

import support
from support import run
from test_generate import make_decoder

TEXTS = ["the lamp is on the table", "", "a happy bird", "we walk", "sun and moon and star", "tree"]


class Forgetting(support.SharedCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        make_decoder(cls.root / "gpt2")
        support.make_model(cls.root / "bert")
        (cls.root / "task.yaml").write_text(support.GO_ON_TASK)
        rows = [{"text": text, "answer": "kind"} for text in ("fine great", "happy", "warm bright lovely", "kind fine")]
        (cls.root / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        (cls.root / "plain.txt").write_text("\n".join(TEXTS) + "\n")
        support.write_tsv(cls.root / "moods.tsv", support.rows(24, 1))

    def train(self, out, *settings, task="task.yaml", data="rows.jsonl", adapter="lora", forgetting="plain.txt", model="gpt2"):
        return run("train", "--model", model, "--task", task, "--data", data, "--adapter", adapter, "--out", self.dir / out, "--threads", 1, "--quiet",
                   "--set", "max_steps=8", "batch_size=4", "learning_rate=0.05", *([f"data.forgetting={forgetting}"] if forgetting else []), *settings, cwd=self.root)

    def measured(self, out):
        return json.loads((self.dir / out / "metrics.json").read_text()).get("forgetting")

    def eval(self, *args, task="task.yaml", data="rows.jsonl", forgetting="plain.txt"):
        done = run("eval", "--model", "gpt2", *(["--task", task] if task else []), "--data", data, "--forgetting", forgetting, "--threads", 1, "--quiet",
                   "--json", self.dir / "scores.json", *args, cwd=self.root)
        return self.assert_done(done), json.loads((self.dir / "scores.json").read_text())["forgetting"]

    def test_a_run_and_eval_measure_the_same(self):
        self.assert_done(self.train("run"))
        own = self.measured("run")
        self.assertEqual(set(own), {"texts", "tokens", "before", "after", "rise"})
        # [CLS] and [SEP] stand around each text, and the first token of each is not predicted.
        self.assertEqual((own["texts"], own["tokens"]), (5, sum(len(text.split()) + 1 for text in TEXTS if text)))
        self.assertAlmostEqual(own["rise"], own["after"] - own["before"], places=12)
        self.assertGreater(abs(own["rise"]), 1e-4)
        done, found = self.eval("--adapter", self.dir / "run/adapter", task=None)
        self.assertEqual(found, own)
        self.assertRegex(done.stdout, r"forgetting +texts 5  tokens \d+  before [\d.]+  after [\d.]+  rise -?[\d.e-]+\n")
        _, bare = self.eval()
        self.assertEqual((bare["before"], bare["after"], bare["rise"]), (own["before"], own["before"], 0))
        # Every token counts alike, whichever text it is of.
        sums = {"before": 0, "after": 0}
        for text in filter(None, TEXTS):
            (self.dir / "one.txt").write_text(text)
            _, one = self.eval("--adapter", self.dir / "run/adapter", task=None, forgetting=self.dir / "one.txt")
            self.assertEqual((one["texts"], one["tokens"]), (1, len(text.split()) + 1))
            for side in sums:
                sums[side] += one[side] * one["tokens"]
        for side, whole in sums.items():
            self.assertAlmostEqual(own[side], whole / own["tokens"], places=5)

    def test_of_full_fine_tuning_and_of_a_classifier(self):
        self.assert_done(self.train("full", adapter="full"))
        self.assert_done(self.train("class", task="text:bad,good", data="moods.tsv"))
        self.assert_done(self.train("plain", forgetting=""))
        self.assertIsNone(self.measured("plain"))
        own = {name: self.measured(name) for name in ("full", "class")}
        self.assertEqual(own["full"]["before"], own["class"]["before"])
        self.assertNotEqual(own["full"]["after"], own["class"]["after"])
        _, found = self.eval("--adapter", self.dir / "class/adapter", task=None, data="moods.tsv")
        self.assertEqual(found, own["class"])

    def test_of_edits_that_count_positions(self):
        """A text without a prompt is counted in as one."""
        self.assert_done(self.train("reft", adapter="loreft"))
        own = self.measured("reft")
        self.assertNotEqual(own["rise"], 0)
        _, found = self.eval("--adapter", self.dir / "reft/adapter", task=None)
        self.assertEqual(found, own)

    def test_an_adapter_that_needs_more_than_a_text_is_refused(self):
        (self.dir / "router.yaml").write_text("edits: [{router: {experts: 2, embedding: 2}, of: {lora: {rank: 2}}}]\n")
        (self.dir / "task.yaml").write_text(support.GO_ON_TASK + "embedding: vector\n")
        (self.dir / "rows.jsonl").write_text("".join(json.dumps({"text": text, "answer": "kind", "vector": [0.5, 1]}) + "\n" for text in ("fine great", "happy")))
        self.assert_done(self.train("routed", adapter=self.dir / "router.yaml", task=self.dir / "task.yaml", data=self.dir / "rows.jsonl", forgetting=""))
        done = run("eval", "--model", "gpt2", "--adapter", self.dir / "routed/adapter", "--data", self.dir / "rows.jsonl", "--forgetting", "plain.txt", cwd=self.root)
        self.assert_refused(done, 2, "it reads 2 numbers of each row", "plain text has none; leave --forgetting out")

    def test_a_study_keeps_the_rise(self):
        (self.dir / "study.yaml").write_text(f"study: moods\nmodel: {self.root}/gpt2\nmethods: {{lora: lora}}\ntasks: {{mood: {{task: 'text:bad,good', train: {self.root}/moods.tsv}}}}\n"
                                             f"set: {{max_steps: 4, batch_size: 4, data.held_out: 0.25, data.forgetting: {self.root}/plain.txt}}\ngrid: {{seed: [1, 2]}}\n")
        self.assert_done(run("sweep", self.dir / "study.yaml", "--out", self.dir / "out", "--threads", 1, "--quiet"))
        self.assert_done(run("report", self.dir / "out", "--peft-results", self.dir / "peft"))
        runs = [json.loads((run_ / "metrics.json").read_text())["forgetting"]["rise"] for run_ in sorted((self.dir / "out/runs").iterdir())]
        kept = [json.loads(file.read_text())["train_info"]["metrics"][-1]["forgetting"] for file in sorted((self.dir / "peft").iterdir())]
        self.assertEqual(len(runs), 2)
        self.assertEqual(kept, runs)

    def test_a_run_that_goes_on_has_the_same_text(self):
        shutil.copy(self.root / "plain.txt", self.dir / "plain.txt")
        self.assert_done(self.train("run", "schedule=constant", "checkpoint_every=2 steps", forgetting=self.dir / "plain.txt"))   # which keep the last checkpoint
        (self.dir / "run/metrics.json").unlink()
        (self.dir / "plain.txt").write_text("another text\n")
        done = run("train", "--resume", self.dir / "run", "--threads", 1, "--quiet", cwd=self.root)
        self.assert_refused(done, 2, "the plain text of data.forgetting is not what the checkpoint")

    def test_refusals(self):
        (self.dir / "empty.txt").write_text("\n \n")
        for forgetting, *parts in (("none.txt", "none.txt", "no such file"), (self.dir / "empty.txt", "expected lines of text of two tokens or more, found none")):
            self.assert_refused(self.train("run", forgetting=forgetting), 2, *parts)
            self.assertFalse((self.dir / "run").exists())
            done = run("eval", "--model", "gpt2", "--task", "task.yaml", "--data", "rows.jsonl", "--forgetting", forgetting, cwd=self.root)
            self.assert_refused(done, 2, *parts)
        self.assert_refused(self.train("run", model="bert", task="text:bad,good", data="moods.tsv"), 2, "plain.txt", "this is a bert model; leave the file out")
        self.assertFalse((self.dir / "run").exists())
        self.assert_done(self.train("run"))
        for args in (["--dropout-passes", "2"], ["--beside", self.dir / "run/adapter"]):
            done = run("eval", "--model", "gpt2", "--adapter", self.dir / "run/adapter", "--data", "rows.jsonl", "--forgetting", "plain.txt", *args, cwd=self.root)
            self.assert_refused(done, 2, "--forgetting: measured of one adapter", "leave out")


if __name__ == "__main__":
    support.main()
