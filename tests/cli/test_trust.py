"""How far answers can be trusted: eval's calibration, samples and doubt against sums over what predict writes of each row."""

import json
import math

import support
from support import run
from test_generate import make_decoder


def entropy(p):
    return -sum(x * math.log(x) for x in p if x > 0)


def area(negatives, positives):
    """By all pairs."""
    won = sum((a < b) + 0.5 * (a == b) for a in negatives for b in positives)
    return won / (len(negatives) * len(positives))


class Trust(support.SharedCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        support.make_model(cls.root / "model")
        (cls.root / "data").mkdir()
        support.write_tsv(cls.root / "data/train.tsv", support.rows(60, 1))
        support.write_tsv(cls.root / "data/dev.tsv", support.rows(40, 2))
        (cls.root / "others.tsv").write_text("text\n" + "".join(f"{word} " * 9 + "\n" for word in support.WORDS[20:45]))
        for seed in (1, 2):
            done = run("train", "--model", "model", "--task", "text:bad,good", "--data", "data", "--adapter", "lora", "--out", f"run{seed}", "--threads", 1, "--quiet",
                       "--set", "max_steps=20", "batch_size=8", "learning_rate=0.01", f"seed={seed}", cwd=cls.root)
            assert done.returncode == 0, done.stderr

    def ask(self, command, *args, data="data/dev.tsv", adapter="run1/adapter"):
        return self.assert_done(run(command, "--model", "model", "--adapter", adapter, "--data", data, "--threads", 1, "--quiet", *args, cwd=self.root))

    def rows(self, *args, **more):
        self.ask("predict", "--out", self.dir / "rows.jsonl", *args, **more)
        return [json.loads(line) for line in (self.dir / "rows.jsonl").read_text().splitlines()]

    def scores(self, *args, **more):
        done = self.ask("eval", "--json", self.dir / "scores.json", *args, **more)
        return json.loads((self.dir / "scores.json").read_text()), done.stdout

    def test_calibration(self):
        found, said = self.scores("--calibration", "--bins", 4)
        rows = self.rows("--columns", "gold,prediction,probability,probabilities")
        own = found["calibration"]
        self.assertAlmostEqual(own["nll"], found["loss"], places=6)
        brier = sum((p - (label == row["gold"])) ** 2 for row in rows for label, p in row["probabilities"].items()) / len(rows)
        self.assertAlmostEqual(own["brier"], brier, places=5)
        error = 0
        for b, bin_ in enumerate(own["reliability"]):
            inside = [row for row in rows if b / 4 < row["probability"] <= (b + 1) / 4]
            self.assertEqual(bin_["rows"], len(inside))
            self.assertEqual((bin_["confidence"] is None, bin_["accuracy"] is None), (not inside, not inside))
            error += abs(sum(row["probability"] - (row["gold"] == row["prediction"]) for row in inside)) / len(rows)
        self.assertAlmostEqual(own["ece"], error, places=5)
        self.assertEqual((own["binning"], own["bins"]), ("width", 4))
        self.assertEqual(own["selective"]["points"][-1], {"coverage": 1, "rows": 40, "accuracy": found["accuracy"]})
        self.assertIn("calibration  nll ", said)
        mass, _ = self.scores("--calibration", "--bins", 4, "--binning", "mass")
        self.assertEqual([b["rows"] for b in mass["calibration"]["reliability"]], [10] * 4)
        metrics = json.loads((self.root / "run1/metrics.json").read_text())["eval"]["calibration"]
        self.assertAlmostEqual(metrics["brier"], own["brier"], places=6)
        self.assertEqual(sum(b["rows"] for b in metrics["reliability"]), 40)

    def test_adapters_of_two_seeds(self):
        rows = self.rows("--beside", "run2/adapter", "--columns", "probabilities,entropy,expected_entropy,information,variances")
        alone = [self.rows("--columns", "probabilities", adapter=f"run{seed}/adapter") for seed in (1, 2)]
        for row, *each in zip(rows, *alone):
            p = [list(one["probabilities"].values()) for one in each]
            mean = [sum(column) / 2 for column in zip(*p)]
            for a, b in zip(row["probabilities"].values(), mean):
                self.assertAlmostEqual(a, b, places=5)
            self.assertAlmostEqual(row["entropy"], entropy(mean), places=5)
            self.assertAlmostEqual(row["expected_entropy"], sum(map(entropy, p)) / 2, places=5)
            self.assertAlmostEqual(row["information"], row["entropy"] - row["expected_entropy"], places=5)
            for a, column in zip(row["variances"].values(), zip(*p)):
                self.assertAlmostEqual(a, (column[0] - column[1]) ** 2 / 4, places=5)
        found, said = self.scores("--beside", "run2/adapter")
        self.assertEqual(found["uncertainty"]["samples"], 2)
        self.assertAlmostEqual(found["uncertainty"]["information"], sum(row["information"] for row in rows) / len(rows), places=6)
        self.assertIn("uncertainty", said)

    def test_dropout(self):
        rows = self.rows("--dropout-passes", 4)
        self.assertEqual(rows, self.rows("--dropout-passes", 4))
        self.assertNotEqual(rows, self.rows("--dropout-passes", 4, "--dropout-seed", 1))
        self.assertTrue(all(row["information"] > 0 for row in rows))
        still = self.rows("--dropout-passes", 2, "--dropout-rate", 0)   # but for the head's
        self.assertLess(sum(row["information"] for row in still), sum(row["information"] for row in rows))

    def test_rows_of_another_kind(self):
        found, said = self.scores("--out-of-domain", "others.tsv", "--beside", "run2/adapter")
        inside, outside = (self.rows("--beside", "run2/adapter", "--columns", "probability,entropy,information,disagreement", data=data)
                           for data in ("data/dev.tsv", "others.tsv"))
        aurocs = found["out_of_domain"]["auroc"]
        self.assertEqual(found["out_of_domain"]["rows"], 25)
        for name in ("entropy", "information", "disagreement"):
            self.assertAlmostEqual(aurocs[name], area([row[name] for row in inside], [row[name] for row in outside]), places=6)
        self.assertAlmostEqual(aurocs["doubt"], area([-row["probability"] for row in inside], [-row["probability"] for row in outside]), places=6)
        self.assertIn("told apart", said)
        (self.dir / "labelled.tsv").write_text("\n".join(line + ("\tlabel" if n == 0 else f"\tkind {n}") for n, line in
                                                         enumerate((self.root / "others.tsv").read_text().splitlines())) + "\n")
        labelled, _ = self.scores("--out-of-domain", self.dir / "labelled.tsv", "--beside", "run2/adapter")
        self.assertEqual(labelled["out_of_domain"]["auroc"], aurocs, "their labels, which the task does not know, say nothing here")

    def test_what_cannot_be_read_or_written_is_told_before_rows_are_answered(self):
        for more, code, part in ((["--json", "none/s.json"], 3, "none/s.json"), (["--out-of-domain", "none.tsv"], 2, "none.tsv': no such file"),
                                 (["--out-of-domain", "data/dev.tsv", "--records", "none/r.jsonl"], 3, "none/r.jsonl")):
            refused = run("eval", "--model", "model", "--adapter", "run1/adapter", "--data", "data/dev.tsv", "--threads", 1, *more, cwd=self.root)
            self.assert_refused(refused, code, part)
            self.assertNotIn("row 40/40", refused.stderr)

    def test_texts(self):
        make_decoder(self.dir / "gpt2")
        (self.dir / "task.yaml").write_text(support.GO_ON_TASK)
        rows = [{"id": f"row {i}", "text": text, "answer": "kind"} for i, text in enumerate(["fine great", "happy", "warm bright lovely", "kind fine"])]
        (self.dir / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        (self.dir / "edits.yaml").write_text("edits: [{router: {experts: 3}, of: {lora: {sites: [attn.q], rank: 2}}}]\n")
        self.assert_done(run("train", "--model", "gpt2", "--task", "task.yaml", "--data", "rows.jsonl", "--adapter", "edits.yaml", "--out", "run", "--threads", 1, "--quiet",
                             "--set", "max_steps=12", "batch_size=4", "learning_rate=0.1", cwd=self.dir))
        command = ["eval", "--model", "gpt2", "--adapter", "run/adapter", "--data", "rows.jsonl", "--threads", 1, "--quiet", "--json", "scores.json", "--tokens", "tokens.jsonl"]
        for args, samples in (((), 1), (("--routing", "ensemble-probabilities", "--routes", 3, "--route-unit", "token"), 3), (("--dropout-passes", 5), 5)):
            self.assert_done(run(*command, *args, cwd=self.dir))
            scores = json.loads((self.dir / "scores.json").read_text())
            lines = [json.loads(line) for line in (self.dir / "tokens.jsonl").read_text().splitlines()]
            self.assertEqual([line["id"] for line in lines], list(range(len(rows))))
            losses = [token[1] for line in lines for token in line["tokens"]]
            self.assertAlmostEqual(scores["loss"], sum(losses) / len(losses), places=9)
            for line in lines:
                self.assertEqual(line["targets"], len(line["tokens"]))
                self.assertAlmostEqual(line["entropy"], sum(token[2] for token in line["tokens"]), places=9)
                if samples == 1:
                    self.assertAlmostEqual(line["log_likelihood"]["mean"], -line["loss"], places=9)
                    self.assertEqual(line["log_likelihood"]["variance"], 0)
                else:
                    self.assertGreater(line["information"], 0)
                    self.assertGreaterEqual(-line["loss"], line["log_likelihood"]["mean"])   # Jensen
            self.assertEqual("uncertainty" in scores, samples > 1)

    def test_adapters_beside_each_other_have_one_task(self):
        """Also those that answer in words, whose task may be another than the one asked."""
        make_decoder(self.dir / "gpt2")
        rows = [{"text": text, "answer": "kind"} for text in ("fine great", "happy", "warm bright lovely", "kind fine")]
        (self.dir / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        for name, task in (("one", support.GO_ON_TASK), ("two", support.GO_ON_TASK), ("other", support.GO_ON_TASK.replace("go-on", "goes-on"))):
            (self.dir / f"{name}.yaml").write_text(task)
            self.assert_done(run("train", "--model", "gpt2", "--task", f"./{name}.yaml", "--data", "rows.jsonl", "--adapter", "lora", "--out", name, "--threads", 1, "--quiet",
                                 "--set", "max_steps=1", cwd=self.dir))
        command = ["eval", "--model", "gpt2", "--adapter", "one/adapter", "--data", "rows.jsonl", "--threads", 1, "--quiet", "--beside"]
        self.assert_done(run(*command, "two/adapter", cwd=self.dir))
        self.assert_refused(run(*command, "other/adapter", cwd=self.dir), 2, "other/adapter': its task is not that of the first adapter")

    def test_refusals(self):
        for args, *parts in ((["--dropout-seed", "1"], "--dropout-seed: found 1", "--dropout-passes"),
                             (["--dropout-passes", "3", "--routing", "random"], "give either routes or passes"),
                             (["--tokens", "t.jsonl"], "--tokens: targets of several tokens"),
                             (["--routing", "random"], "and no router"),
                             (["--beside", "nowhere"], "'nowhere/adapter.json': no such file; an adapter is the folder that graft train wrote")):
            done = run("eval", "--model", "model", "--adapter", "run1/adapter", "--data", "data/dev.tsv", *args, cwd=self.root)
            self.assert_refused(done, 2, *parts)


if __name__ == "__main__":
    support.main()
