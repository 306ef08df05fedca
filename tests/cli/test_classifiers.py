"""Classifiers of every family: folders that bring their own head, and heads that are trained on decoders."""

import json
import pathlib
import shutil
import tempfile

import support
from support import run
from test_generate import make_decoder

CLASSIFIERS = support.SOURCE / "tests" / "golden" / "classifiers"
LABELS = ["bad", "so so", "good"]
NAMED = ["bert-labels", "gpt2-labels", "llama-labels", "t5-labels", "bart-labels"]


def make_classifier(folder, name, **changes):
    """A copy of a golden classifier with a tokenizer of as many words, which ends every text with id 3."""
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True)
    for file in ("config.json", "model.safetensors"):
        shutil.copy(CLASSIFIERS / name / file, folder / file)
    config = json.loads((folder / "config.json").read_text())
    config.update({"eos_token_id": 3, **changes})
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "tokenizer.json").write_text(json.dumps(support.wordpiece(config["vocab_size"])), encoding="utf-8")
    return folder


def lines(path):
    return [json.loads(line) for line in pathlib.Path(path).read_text().splitlines()]


class Classifiers(support.SharedCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        rows = support.rows(24, 5, 8)
        support.write_tsv(cls.root / "rows.tsv", rows)
        (cls.root / "texts.tsv").write_text("text\n" + "".join(text + "\n" for text, _ in rows))
        (cls.root / "values.tsv").write_text("text\tlabel\n" + "".join(f"{text}\t{len(text) / 10}\n" for text, _ in rows))

    def model(self, name, **changes):
        folder = pathlib.Path(tempfile.mkdtemp(dir=self.root)) / name
        return make_classifier(folder, name, **changes)

    def predict(self, model, *args, data="texts.tsv"):
        out = pathlib.Path(tempfile.mkdtemp(dir=self.root)) / "out.jsonl"
        done = self.assert_done(run("predict", "--model", model, "--data", data, "--out", out, "--threads", 1, *args, cwd=self.root))
        return lines(out), done.stderr

    def train(self, model, *args, out=None, settings=()):
        out = out or pathlib.Path(tempfile.mkdtemp(dir=self.root)) / "run"
        flags = [part for each in ("batch_size=8", *settings) for part in ("--set", each)]
        return out, self.assert_done(run("train", "--model", model, "--data", "rows.tsv", "--out", out, "--threads", 1, *args, *flags, cwd=self.root))

    def test_a_folder_answers_by_its_own_head(self):
        for name in NAMED:
            with self.subTest(name):
                answers, said = self.predict(self.model(name))
                self.assertTrue({answer["prediction"] for answer in answers} <= set(LABELS))
                self.assertIn('the model\'s own head answers: "bad", "so so" and "good"', said)
                for answer in answers:
                    self.assertEqual(answer["prediction"], LABELS[answer["logits"].index(max(answer["logits"]))])
                self.assertEqual(self.predict(self.model(name), "--quiet")[1], "")

    def test_labels_that_nobody_named_are_numbered(self):
        answers, said = self.predict(self.model("qwen2-labels"))
        self.assertTrue({answer["prediction"] for answer in answers} <= {"LABEL_0", "LABEL_1", "LABEL_2", "LABEL_3"})
        self.assertIn('"LABEL_3" (the folder names no labels)', said)

    def test_a_task_names_the_columns_and_maps_the_labels(self):
        model = self.model("llama-labels")
        (self.root / "moods.yaml").write_text("name: moods\ntext: text\nlabel: label\nlabels: [good, middling, bad]\nspellings: {so so: middling}\nmetrics: [accuracy]\n")
        own, _ = self.predict(model)
        mapped, said = self.predict(model, "--task", "./moods.yaml")
        self.assertIn('"good", "so so" as "middling" and "bad"', said)
        for first, second in zip(own, mapped):
            self.assertEqual(second["logits"], first["logits"][::-1])
            self.assertEqual(second["prediction"], first["prediction"].replace("so so", "middling"))
        rows = support.rows(24, 5, 8)
        done = self.assert_done(run("eval", "--model", model, "--task", "./moods.yaml", "--data", "rows.tsv", "--threads", 1, "--json", self.root / "scores.json", cwd=self.root))
        self.assertIn("accuracy", done.stdout)
        right = sum(answer["prediction"] == label for answer, (_, label) in zip(mapped, rows))
        self.assertAlmostEqual(json.loads((self.root / "scores.json").read_text())["accuracy"], right / len(rows), places=6)
        refused = run("eval", "--model", model, "--task", "text:no,yes", "--data", "rows.tsv", cwd=self.root)
        self.assert_refused(refused, 2, 'own head answers "bad", "so so" and "good", and task "text" asks for "no" and "yes"')

    def test_a_regression_answers_with_numbers(self):
        for name in ("mistral-value", "t5-gated-value"):
            answers, said = self.predict(self.model(name), data="values.tsv")
            self.assertIn("the model's own head answers: a number", said)
            self.assertEqual([answer["prediction"] for answer in answers], [answer["logits"][0] for answer in answers])

    def test_what_the_head_cannot_answer_is_refused_by_name(self):
        model = self.model("bert-labels", problem_type="multi_label_classification")
        refused = run("predict", "--model", model, "--data", "texts.tsv", "--out", "never.jsonl", cwd=self.root)
        self.assert_refused(refused, 2, "multi_label_classification")
        bare = make_decoder(pathlib.Path(tempfile.mkdtemp(dir=self.root)) / "gpt2")
        self.assert_refused(run("predict", "--model", bare, "--data", "texts.tsv", "--out", "never.jsonl", cwd=self.root), 2,
                            "give --adapter, or --task for the bare model; its folder brings no head of its own")
        self.assert_refused(run("eval", "--model", bare, "--task", "text:bad,good", "--data", "rows.tsv", cwd=self.root), 2, "the model's folder brings none")
        self.assert_refused(run("generate", "--model", self.model("llama-labels"), "--prompt", "fine", cwd=self.root), 2, "has no layer over the vocabulary")
        self.assertFalse((self.root / "never.jsonl").exists())

    def test_training_starts_from_the_folders_head(self):
        still = ["max_steps=1", "learning_rate=1e-9", "dropout=0"]
        for name in NAMED:
            with self.subTest(name):
                model = self.model(name)
                out, done = self.train(model, "--task", "text:good,so so,bad", "--adapter", "lora", settings=still)
                self.assertIn('the head starts as the model\'s own: "good", "so so" and "bad"', done.stderr)
                own, _ = self.predict(model)
                trained, _ = self.predict(model, "--adapter", out / "adapter")
                for first, second in zip(own, trained):
                    for a, b in zip(first["logits"], second["logits"][::-1]):
                        self.assertAlmostEqual(a, b, places=4)
        _, done = self.train(self.model("bert-labels"), "--task", "text:bad,good", "--adapter", "lora", settings=still)
        self.assertIn('the head starts anew: the model\'s own answers "bad", "so so" and "good"', done.stderr)
        _, done = self.train(self.model("bert-labels", problem_type="multi_label_classification"), "--task", "text:bad,so so,good", "--adapter", "lora", settings=still)
        self.assertIn("the head starts anew: of the model, its head gives several labels at once", done.stderr)

    def test_a_cloze_is_traced_and_merged(self):
        """Both need a mask: trace takes that of its text, merge makes one up."""
        model = make_decoder(self.root / "masked", "bert-mlm")
        (self.root / "cloze.yaml").write_text("name: mood\ntext: text\nlabels: [bad, good]\nlabel: label\n"
                                              "cloze: {template: '{text} {mask}', words: {bad: sad, good: great}}\nmetrics: [accuracy]\n")
        out, _ = self.train(model, "--task", "./cloze.yaml", "--adapter", "lora", settings=["max_steps=2"])
        adapter = ["--model", model, "--adapter", out / "adapter"]
        (self.dir / "one.tsv").write_text("text\nfine kind\n")
        (expected,), _ = self.predict(model, "--adapter", out / "adapter", data=self.dir / "one.tsv")
        target = self.dir / "trace.safetensors"
        self.assert_done(run("trace", *adapter, "--text", "fine kind [MASK]", "--out", target))
        found = support.floats(support.read_safetensors(target)["logits"])
        self.assertEqual(len(found), 2)
        for a, b in zip(found, expected["logits"]):
            self.assertAlmostEqual(a, b, places=5)
        for text, count in (("fine kind", 0), ("[MASK] kind [MASK]", 2)):
            self.assert_refused(run("trace", *adapter, "--text", text, "--out", target), 2, "--text: expected one [MASK]", f"found {count}")
        self.assert_done(run("merge", *adapter, "--out", self.dir / "merged"))
        self.assert_refused(run("export", *adapter, "--to", "peft", "--out", self.dir / "peft"), 2, 'task "mood" is a cloze', "graft merge writes a folder")
        self.assertFalse((self.dir / "peft").exists())

    def test_decoders_learn_labels_and_a_merged_folder_answers_alone(self):
        for name in ("gpt2-tiny", "llama-grouped", "qwen2-tiny", "mistral-tiny", "t5-tiny", "t5-gated", "bart-tiny"):
            with self.subTest(name):
                model = make_decoder(pathlib.Path(tempfile.mkdtemp(dir=self.root)) / name, name)
                config = json.loads((model / "config.json").read_text())
                (model / "config.json").write_text(json.dumps({**config, "eos_token_id": 3}))
                (self.root / "mood.yaml").write_text("name: mood\ntext: text\nlabel: label\nlabels: [bad, good]\nmetrics: [accuracy]\n")
                out, _ = self.train(model, "--task", "./mood.yaml", "--adapter", "lora", settings=["epochs=40", "learning_rate=2e-2", "dropout=0", "data.eval=rows.tsv"])
                self.assertGreater(json.loads((out / "metrics.json").read_text())["eval"]["accuracy"], 0.95)
                self.assert_done(run("plan", "--model", model, "--adapter", "lora", "--task", "./mood.yaml", "--batch-size", 2, "--length", 4, "--threads", 1, cwd=self.root))
                merged = out.parent / "merged"
                self.assert_done(run("merge", "--model", model, "--adapter", out / "adapter", "--out", merged, cwd=self.root))
                kept, _ = self.predict(model, "--adapter", out / "adapter")
                alone, said = self.predict(merged)
                self.assertIn('"bad" and "good"', said)
                for first, second in zip(kept, alone):
                    self.assertEqual(first["prediction"], second["prediction"])
                    for a, b in zip(first["logits"], second["logits"]):
                        self.assertAlmostEqual(a, b, delta=1e-3 * max(1, abs(a)))
                _, done = self.train(merged, "--task", "./mood.yaml", "--adapter", "lora", settings=["max_steps=1"])
                self.assertIn("the head starts as the model's own", done.stderr)
                trace = out.parent / "trace.safetensors"
                self.assert_done(run("trace", "--model", model, "--adapter", out / "adapter", "--text", "fine great", "--out", trace, cwd=self.root))
                self.assertEqual(support.read_safetensors(trace)["logits"][1], [1, 2])
                self.assert_refused(run("generate", "--model", model, "--adapter", out / "adapter", "--prompt", "fine", cwd=self.root), 2, "answers by a head, not in words")


if __name__ == "__main__":
    support.main()
