"""A first hour with files of one's own: a proposed task, defaults that learn, warnings where nothing was learned, reports."""

import csv
import gzip
import json
import math
import re
import shutil
import subprocess

import support
from support import run


def scores_by_hand(truth, answers):
    """label -> (precision, recall, f1, support)."""
    out = {}
    for label in sorted(set(truth) | set(answers)):
        hits = sum(t == a == label for t, a in zip(truth, answers))
        support_, answered = truth.count(label), answers.count(label)
        precision, recall = (hits / answered if answered else 0.0), (hits / support_ if support_ else 0.0)
        out[label] = (precision, recall, 2 * hits / (support_ + answered), support_)
    return out


class FirstHour(support.SharedCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        support.make_model(cls.root / "model", "bert-tiny")
        (cls.root / "data").mkdir()
        support.write_tsv(cls.root / "data/train.tsv", support.rows(60, 1))
        support.write_tsv(cls.root / "data/dev.tsv", support.rows(30, 2))
        support.write_pairs(cls.root / "pairs.tsv", 40, 4)
        (cls.root / "pairs.yaml").write_text(support.PAIR_TASK)
        with open(cls.root / "own.csv", "w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(["body", "mood"])
            spellings = {"good": ["good", "Good", "good "], "bad": ["bad"]}
            for i, (text, label) in enumerate(support.rows(60, 1)):
                writer.writerow([text, spellings[label][i % len(spellings[label])]])

    def ok(self, *args):
        return self.assert_done(run(*args, cwd=self.root))

    def train(self, out, settings=(), adapter="lora", task="text:bad,good", data="data", more=()):
        self.addCleanup(shutil.rmtree, self.root / out, ignore_errors=True)
        pairs = [text for each in settings for text in ("--set", each)]
        return self.ok("train", "--model", "model", "--task", task, "--data", data, "--adapter", adapter, "--out", out, "--threads", 1, *pairs, *more)

    def metrics(self, out):
        return json.loads((self.root / out / "metrics.json").read_text())

    def test_a_proposed_task_trains(self):
        told = self.ok("inspect", "data", "own.csv").stdout
        self.assertIn('label: "mood"\n', told)
        self.assertIn('"Good": "good"', told)
        (self.root / "own.yaml").write_text(told)
        self.train("own", ["max_steps=2", "data.held_out=0.2"], task="own.yaml", data="own.csv")
        self.assertEqual(self.metrics("own")["eval"]["rows"], 12)
        task = json.loads(self.ok("inspect", "data", "--data", "own.csv", "--json").stdout)
        self.assertEqual(task["labels"], ["bad", "good"])
        self.assert_refused(run("inspect", "data", "own.csv", "--model", "model", cwd=self.root), 2, "--task: missing")

    def test_a_task_is_proposed_for_every_file_that_can_be_read(self):
        text = (self.root / "own.csv").read_text(encoding="utf-8")
        expected = json.loads(self.ok("inspect", "data", "own.csv", "--json").stdout)
        (self.root / "own.csv.gz").write_bytes(gzip.compress(text.encode()))
        self.assertEqual(json.loads(self.ok("inspect", "data", "own.csv.gz", "--json").stdout), expected)
        (self.root / "semicolons.csv").write_text(text.replace(",", ";"))
        self.assertEqual(json.loads(self.ok("inspect", "data", "semicolons.csv", "--json").stdout), {**expected, "name": "semicolons"})
        for more in ([], ["--data-format", "csv"]):
            done = subprocess.run(support.command("inspect", "data", "-", "--json", *more), env=support.environment(), input=text, capture_output=True, encoding="utf-8", timeout=60)
            self.assertEqual(json.loads(self.assert_done(done).stdout), {**expected, "name": "stdin", "format": "csv"})

    def test_all_unknown_labels_at_once(self):
        done = run("train", "--model", "model", "--task", "own2.yaml", "--data", "own.csv", "--adapter", "lora", "--out", "never", cwd=self.root)
        self.assert_refused(done, 2, "own2.yaml")
        (self.root / "own2.yaml").write_text("name: own\ntext: body\nlabel: mood\nlabels: [bad, good]\n")
        done = run("train", "--model", "model", "--task", "own2.yaml", "--data", "own.csv", "--adapter", "lora", "--out", "never", cwd=self.root)
        self.assert_refused(done, 2, 'unknown label "Good" (did you mean \'good\'?) (', 'unknown label "good " (did you mean', "graft inspect data FILE")

    def test_the_defaults_are_in_run_yaml_and_plan(self):
        done = self.train("auto", ["batch_size=30", "data.rows=60", "checkpoint_every=never", "evaluate_every=never"])
        self.assertIn("epochs: 100, 200 steps (auto: at least 300 steps, 3 to 100 epochs); learning_rate: 0.001\n", done.stderr)
        text = (self.root / "auto/run.yaml").read_text()
        self.assertIn("epochs: 100\n", text)
        self.assertIn("learning_rate: 0.001\n", text)
        self.train("few", ["max_steps=1", "epochs=auto"])
        self.assertIn('evaluate_every: "1 epochs"\n', (self.root / "few/run.yaml").read_text())
        told = self.ok("plan", "--model", "model", "--adapter", "lora", "--no-timing", "--rows", 478, "--json", self.dir / "plan.json").stdout
        self.assertIn("settings: learning_rate 0.001, epochs 20; 478 rows: 300 steps\n", told)
        plan = json.loads((self.dir / "plan.json").read_text())
        self.assertEqual((plan["learning_rate"], plan["epochs"], plan["steps"]), (0.001, 20, 300))
        self.assertIn("epochs auto (at least 300 steps, 3 to 100 epochs; --rows says how many)", self.ok("plan", "--model", "model", "--adapter", "lora", "--no-timing").stdout)

    def test_published_settings_have_a_name(self):
        self.train("paper", ["max_steps=1"], adapter="loreft:published")
        text = (self.root / "paper/run.yaml").read_text()
        for part in ("learning_rate: 6e-04\n", 'adapter_name: "loreft:published"', "warmup: 0.03\n"):
            self.assertIn(part, text)
        self.train("edits", ["max_steps=1"], adapter="prefix:published")
        self.assertIn("mlp: 512\n", (self.root / "edits/run.yaml").read_text())   # the preset itself has no network
        self.train("again", more=["--quiet"], adapter="lora:published", settings=["max_steps=1", "learning_rate=0.25"])
        self.assertIn("learning_rate: 0.25\n", (self.root / "again/run.yaml").read_text())
        self.assert_refused(run("plan", "--model", "model", "--adapter", "head:published", cwd=self.root), 2, '"head" has no published settings')

    def test_the_page_of_methods_lists_the_settings(self):
        page = (support.SOURCE / "doc/methods.md").read_text()
        listed = page.split("<!-- presets -->\n")[1].split("<!-- end -->")[0].splitlines()[2:]
        def section(name, text):   # the lines below "name:", remarks taken away
            lines = (re.search(rf"^{name}:\n((?:  .*\n)*)", text, re.M) or [None, ""])[1].splitlines()
            return ", ".join(re.sub(" +#.*", "", line).strip() for line in lines)

        expected = []
        for path in sorted((support.SOURCE / "presets").glob("*.yaml")):
            text = path.read_text()
            expected.append(f"| {path.stem} | {section('train', text)} | {section('published', text)} |")
        self.assertEqual(listed, expected)

    def test_a_run_that_learned_nothing_says_so(self):
        done = self.train("flat", ["max_steps=12", "learning_rate=1e-7"])
        self.assertIn("warning: the loss hardly left its start: ", done.stderr)
        self.assertIn("--set learning_rate=1e-06 (now 1e-07)", done.stderr)
        metrics = self.metrics("flat")
        self.assertEqual(metrics["warnings"], [line[len("warning: "):] for line in done.stderr.splitlines() if line.startswith("warning: ")])
        self.assertGreater(metrics["loss"]["last"], 0.95 * metrics["loss"]["blind"])
        learned = self.train("learned", ["epochs=8", "dropout=0", "learning_rate=0.005"], adapter="full")
        self.assertNotIn("warning:", learned.stderr)
        self.assertEqual(self.metrics("learned")["warnings"], [])

    def test_every_evaluation_stands_beside_the_majority(self):
        done = self.train("flat", ["max_steps=2", "learning_rate=0"], more=["--eval", "data/dev.tsv", "--test", "data/train.tsv"])
        labels = [label for _, label in support.rows(30, 2)]
        most = max(("bad", "good"), key=labels.count)
        share = labels.count(most) / 30
        scores = self.metrics("flat")["eval"]
        self.assertEqual(scores["majority"]["label"], most)
        self.assertAlmostEqual(scores["majority"]["accuracy"], share, delta=1e-12)
        self.assertIn("(majority ", done.stderr)
        self.assertRegex(done.stdout, rf'  always "{most}":  accuracy [\d.]+\n')
        told = self.ok("eval", "--model", "model", "--adapter", "flat/adapter", "--data", "data/dev.tsv", "--quiet").stdout
        self.assertRegex(told, rf'majority +always "{most}":  accuracy [\d.]+\n')

    def test_one_answer_for_all_rows_is_told(self):
        rows = [(text, "good") for text, _ in support.rows(40, 3)]
        support.write_tsv(self.root / "good.tsv", rows[:38] + [(text, "bad") for text, _ in rows[38:]])
        done = self.train("one", ["max_steps=40", "learning_rate=0.01"], data="good.tsv", more=["--eval", "good.tsv"])
        scores = self.metrics("one")["eval"]
        self.assertEqual(scores["only_answer"], "good")
        self.assertIn('; every answer is "good"\n', done.stderr)
        self.assertIn('warning: eval: all 40 rows are answered "good"\n', done.stderr)
        told = self.ok("eval", "--model", "model", "--adapter", "one/adapter", "--data", "good.tsv", "--quiet", "--json", self.dir / "scores.json").stdout
        self.assertIn('every row is answered "good"\n', told)
        self.assertEqual(json.loads((self.dir / "scores.json").read_text())["only_answer"], "good")

    def test_a_label_without_rows_is_told(self):
        support.write_tsv(self.root / "good.tsv", [(text, "good") for text, _ in support.rows(10, 3)])
        done = self.train("unseen", ["max_steps=1"], task="text:bad,good,never", more=["--eval", "good.tsv"])
        self.assertEqual(done.stderr.count('warning: no training row has the label "never"\n'), 1)
        self.assertEqual(done.stderr.count('warning: no evaluation row has the label "bad", which training rows have\n'), 1)
        self.assertEqual(self.metrics("unseen")["warnings"][0], 'no training row has the label "never"')

    def test_a_proposed_task_of_decimals_trains(self):
        """What pandas writes of whole numbers in a column that has an empty cell."""
        rows = [(text, f"{float(label == 'good')}") for text, label in support.rows(20, 3)]
        support.write_tsv(self.root / "floats.tsv", rows)
        (self.root / "floats.yaml").write_text(self.ok("inspect", "data", "floats.tsv").stdout)
        self.train("floats", ["max_steps=1"], task="floats.yaml", data="floats.tsv")
        self.assertEqual(json.loads((self.root / "floats/adapter/adapter.json").read_text())["task"]["labels"], ["0", "1"])
        support.write_tsv(self.root / "floats.tsv", rows + [("the sea", ""), ("a stone", "")])
        done = run("train", "--model", "model", "--task", "floats.yaml", "--data", "floats.tsv", "--adapter", "lora", "--out", "never", cwd=self.root)
        self.assert_refused(done, 2, "floats.tsv:22: column \"label\": expected a label, found an empty field (2 rows); label every row", "--on-error skip")

    def test_report_of_labels(self):
        self.train("some", ["epochs=2", "learning_rate=0.003", "dropout=0"], adapter="full")
        evaluate = ["eval", "--model", "model", "--adapter", "some/adapter", "--data", "data/dev.tsv", "--quiet", "--threads", 1, "--json", self.dir / "scores.json"]
        told = self.ok(*evaluate, "--report", "--mistakes", 3).stdout
        report = json.loads((self.dir / "scores.json").read_text())["report"]
        target = self.dir / "p.jsonl"
        self.ok("predict", "--model", "model", "--adapter", "some/adapter", "--data", "data/dev.tsv", "--out", target, "--quiet", "--threads", 1)
        predictions = [json.loads(line) for line in target.read_text().splitlines()]
        rows = support.rows(30, 2)
        truth, answers = [label for _, label in rows], [line["prediction"] for line in predictions]
        for scores in report["classes"]:
            expected = scores_by_hand(truth, answers).get(scores["label"], (0, 0, 0, 0))
            for key, value in zip(("precision", "recall", "f1", "support"), expected):
                self.assertAlmostEqual(scores[key], value, delta=1e-12)
        pairs = list(zip(truth, answers))
        self.assertEqual(report["confusion"], [[pairs.count((t, a)) for a in ("bad", "good")] for t in ("bad", "good")])
        wrong = [i for i in range(30) if truth[i] != answers[i]]
        self.assertEqual(report["wrong_rows"], len(wrong))
        self.assertEqual(len(report["mistakes"]), min(3, len(wrong)))
        for mistake in report["mistakes"]:
            i = mistake["id"]
            self.assertEqual((mistake["line"], mistake["text"], mistake["expected"], mistake["answer"]), (i + 2, *rows[i], answers[i]))
            right, other = (predictions[i]["logits"][k] for k in ((0, 1) if truth[i] == "bad" else (1, 0)))
            self.assertAlmostEqual(mistake["probability"], 1 / (1 + math.exp(other - right)), delta=1e-6)
        self.assertEqual([m["probability"] for m in report["mistakes"]], sorted(m["probability"] for m in report["mistakes"]))
        self.assertRegex(told, r"label +precision +recall +f1 +support\n")
        self.assertNotIn("report", json.loads((self.ok(*evaluate), self.dir / "scores.json")[1].read_text()))

    def test_the_matrix_of_a_report_names_its_columns(self):
        """Labels 0 and 1 stand under themselves; long ones under numbers that are no labels."""
        for labels, head, rows in ((["0", "1"], r" +0 +1\n", [r"0 +", r"1 +"]),
                                   ([f"a quite long label of {k}" for k in range(9)], r" +\(1\) +\(2\) .* +\(9\)\n", [r"\(1\) a quite long label of 0 +", r"\(2\) a quite long label of 1 +"])):
            with self.subTest(labels=labels):
                support.write_tsv(self.root / "named.tsv", [(text, labels[i % len(labels)]) for i, (text, _) in enumerate(support.rows(30, 4))])
                out = f"named{len(labels)}"
                self.train(out, ["max_steps=1"], task="text:" + ",".join(labels), data="named.tsv")
                told = self.ok("eval", "--model", "model", "--adapter", f"{out}/adapter", "--data", "named.tsv", "--quiet", "--report", "--threads", 1).stdout
                matrix = told.split("rows of each label (down) by answer (across):\n")[1]
                self.assertRegex(matrix, "^" + head + "".join(row + r"[\d ]+\n" for row in rows))

    def test_report_of_values(self):
        self.train("values", ["max_steps=3"], task="pairs.yaml", data="pairs.tsv")
        told = self.ok("eval", "--model", "model", "--adapter", "values/adapter", "--data", "pairs.tsv", "--quiet", "--json", self.dir / "scores.json", "--report").stdout
        report = json.loads((self.dir / "scores.json").read_text())["report"]
        self.assertLessEqual({"mean_absolute_error", "root_mean_squared_error", "r2", "mean_value", "mean_answer"}, report.keys())
        errors = [abs(mistake["error"]) for mistake in report["mistakes"]]
        self.assertEqual(errors, sorted(errors, reverse=True))
        self.assertLessEqual(report["mean_absolute_error"], errors[0])
        self.assertIn("root mean squared error", told)

    def test_find_rate(self):
        done = self.ok("train", "--model", "model", "--task", "text:bad,good", "--data", "data", "--adapter", "full", "--threads", 1, "--find-rate", "--set", "dropout=0")
        self.assertRegex(done.stdout, r"^ +rate +loss\n +1e-06 ")
        found = re.search(r"suggested: --set learning_rate=(\S+) \(now 5e-05\)", done.stdout)
        self.assertTrue(found, done.stdout)
        self.assertLess(float(found.group(1)), 0.1)
        self.assertEqual(sorted(path.name for path in self.root.iterdir() if "run.yaml" in [p.name for p in path.glob("*")]), [])
        self.assert_refused(run("train", "--resume", "x", "--find-rate", cwd=self.root), 2, "--find-rate")


if __name__ == "__main__":
    support.main()
