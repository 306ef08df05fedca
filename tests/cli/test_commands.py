"""The usual way through the program: train, eval, predict, inspect, trace, plan; what each writes, checked key by key."""

import json
import math
import re
import shutil
import struct

import support
from support import run

COMMANDS = [["train"], ["eval"], ["predict"], ["generate"], ["trace"], ["collect"], ["steer"], ["sweep"], ["sweep", "status"], ["sweep", "table"], ["sweep", "join"], ["report"], ["plan"], ["inspect"], ["inspect", "data"], ["inspect", "model"], ["inspect", "adapter"], ["inspect", "tokens"]]
SCORES = {"rows", "loss", "accuracy"}


class Flow(support.SharedCase):
    """One trained run of each kind, shared by the tests that read it."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        for name in ("bert-tiny", "roberta-tiny"):
            support.make_model(cls.root / name, name)
        (cls.root / "data").mkdir()
        support.write_tsv(cls.root / "data/train.tsv", support.rows(120, 1))
        support.write_tsv(cls.root / "data/dev.tsv", support.rows(30, 2))
        support.write_tsv(cls.root / "data/test.tsv", support.rows(25, 3))
        support.write_pairs(cls.root / "pairs.tsv", 80, 4)
        (cls.root / "pairs.yaml").write_text(support.PAIR_TASK)

    def ok(self, *args):
        return self.assert_done(run(*args, cwd=self.root))

    def train(self, out, model="bert-tiny", adapter="lora", settings=(), data="data", task="text:bad,good", more=()):
        args = ["train", "--model", model, "--task", task, "--data", data, "--adapter", adapter, "--out", out, "--threads", 1, *more]
        for setting in ("epochs=2", "batch_size=16", "learning_rate=0.01", *settings):
            args += ["--set", setting]
        done = self.ok(*args)
        self.addCleanup(shutil.rmtree, self.root / out, ignore_errors=True)
        return done

    def metrics(self, out):
        return json.loads((self.root / out / "metrics.json").read_text())

    def evaluate(self, out, model, data, *more):
        target = self.dir / "scores.json"
        self.ok("eval", "--model", model, "--adapter", f"{out}/adapter", "--data", data, "--json", target, "--quiet", "--threads", 1, *more)
        return json.loads(target.read_text())

    def check_scores(self, out, model, eval_data, test_data=None):
        """What eval says of the kept adapter is what metrics.json says."""
        metrics = self.metrics(out)
        for part, data in (("eval", eval_data), ("test", test_data)):
            if data is None:
                continue
            scores = self.evaluate(out, model, data, *(["--calibration"] if "calibration" in metrics[part] else []))
            self.assertEqual({key: scores[key] for key in metrics[part]}, metrics[part])
            self.assertEqual(scores["version"], 1)
            self.assertLessEqual({"texts_cut", "tokens", "seconds"}, scores.keys())

    def test_whole_flow_for_each_model(self):
        for model in ("bert-tiny", "roberta-tiny"):
            with self.subTest(model=model):
                out = f"run-{model}"
                done = self.train(out, model, settings=["evaluate_every=5"])
                self.assertRegex(done.stdout, r"eval: +rows 30 +loss [\d.]+ +accuracy [\d.]+\n")
                self.check_log(out)
                self.check_scores(out, model, "data/dev.tsv", "data/test.tsv")
                self.check_predictions(out, model)

    def check_log(self, out):
        events = support.log_events(self.root / out)
        self.assertEqual([events[0]["event"], events[-1]["event"]], ["start", "done"])
        steps = [event for event in events if event["event"] == "step"]
        self.assertEqual([event["step"] for event in steps], list(range(1, 17)))
        for event in steps:
            self.assertLessEqual({"step", "loss", "learning_rate", "gradient_norm", "tokens", "seconds"}, event.keys())
            self.assertTrue(math.isfinite(event["loss"]) and event["tokens"] > 0 and event["seconds"] > 0)
        self.assertEqual(sum(event["tokens"] for event in steps), 2 * events[0]["train_tokens"])
        self.assertEqual(events[-1]["tokens"], 2 * events[0]["train_tokens"])
        evaluations = [event for event in events if event["event"] == "evaluate"]
        self.assertEqual([event["step"] for event in evaluations], [5, 10, 15, 16])
        metrics = self.metrics(out)
        best = max(evaluations, key=lambda event: event["accuracy"])   # the first of equals
        self.assertEqual(metrics["step"], best["step"])
        self.assertEqual((metrics["eval"]["accuracy"], metrics["eval"]["loss"]), (best["accuracy"], best["loss"]))
        self.assertEqual(metrics["edit_parameters"], events[0]["edit_parameters"])

    def check_predictions(self, out, model):
        target = self.dir / "p.jsonl"
        self.ok("predict", "--model", model, "--adapter", f"{out}/adapter", "--data", "data/dev.tsv", "--out", target, "--quiet", "--threads", 1)
        lines = [json.loads(line) for line in target.read_text().splitlines()]
        self.assertEqual([line["id"] for line in lines], list(range(30)))
        for line in lines:
            self.assertEqual(list(line), ["id", "prediction", "probabilities", "logits"])
            self.assertEqual(list(line["probabilities"]), ["bad", "good"])
            self.assertAlmostEqual(sum(line["probabilities"].values()), 1, delta=1e-6)
            self.assertEqual(line["prediction"], ("bad", "good")[line["logits"].index(max(line["logits"]))])
            top = max(line["logits"])
            total = sum(math.exp(x - top) for x in line["logits"])
            for logit, probability in zip(line["logits"], line["probabilities"].values()):
                self.assertAlmostEqual(math.exp(logit - top) / total, probability, delta=1e-6)
        truth = [label for _, label in support.rows(30, 2)]
        right = sum(line["prediction"] == label for line, label in zip(lines, truth)) / 30
        self.assertAlmostEqual(right, self.metrics(out)["eval"]["accuracy"], delta=1e-12)

    def test_it_learns(self):
        self.train("learned", adapter="full", settings=["epochs=6", "dropout=0", "learning_rate=0.005"])
        self.assertGreater(self.metrics("learned")["eval"]["accuracy"], 0.8)

    def test_predict_without_labels_and_with_ids(self):
        self.train("ids", settings=["epochs=1"])
        (self.root / "rows.jsonl").write_text('{"text": "a great film", "id": "x-1"}\n{"text": "a cold, sad tree", "id": 7}\n')
        target = self.dir / "p.jsonl"
        self.ok("predict", "--model", "bert-tiny", "--adapter", "ids/adapter", "--data", "rows.jsonl", "--out", target, "--threads", 1)
        self.assertEqual([json.loads(line)["id"] for line in target.read_text().splitlines()], ["x-1", 7])

    def test_pairs_and_regression(self):
        for model in ("bert-tiny", "roberta-tiny"):
            with self.subTest(model=model):
                out = f"pairs-{model}"
                self.train(out, model, data="pairs.tsv", task="pairs.yaml", settings=["data.held_out=0.25", "data.rows=60"])
                metrics = self.metrics(out)
                self.assertEqual(metrics["eval"]["rows"], 15)
                self.assertEqual(set(metrics["eval"]), {"rows", "loss", "pearson", "spearman"})
                target = self.dir / "p.jsonl"
                self.ok("predict", "--model", model, "--adapter", f"{out}/adapter", "--data", "pairs.tsv", "--out", target, "--threads", 1)
                for line in map(json.loads, target.read_text().splitlines()):
                    self.assertEqual(list(line), ["id", "prediction", "logits"])
                    self.assertEqual([line["prediction"]], line["logits"])
                told = self.ok("inspect", "data", "--model", model, "--task", "pairs.yaml", "--data", "pairs.tsv").stdout
                self.assertEqual("/1" in told, model == "bert-tiny")   # segment types: BERT has two, RoBERTa one
                self.assertIn("(a value)", told)

    def test_adapter_file_equals_the_preset(self):
        (self.root / "mine.yaml").write_text("about: mine\nedits:\n  - lora: {sites: [attn.q, attn.v], rank: 8, alpha: 16}\n")
        self.train("preset")
        self.train("file", adapter="mine.yaml")
        self.assertEqual(*((self.root / out / "adapter/adapter.safetensors").read_bytes() for out in ("preset", "file")))

    def test_run_yaml_reproduces_the_run(self):
        self.train("first", settings=["rank=4", "dropout=0.2", "order=length"])
        self.addCleanup(shutil.rmtree, self.root / "second", ignore_errors=True)
        for line in ("rank: 4", "alpha: 16", "layers: []", 'init: "kaiming"', "dropout: 0.2", "seed: 42"):   # all of it, defaults too
            self.assertIn(line, (self.root / "first/run.yaml").read_text())
        self.ok("train", "first/run.yaml", "--out", "second", "--threads", 1, "--quiet")
        first, second = (support.end_state(self.root / out) for out in ("first", "second"))
        self.assertEqual(first, second)
        yamls = [(self.root / out / "run.yaml").read_text() for out in ("first", "second")]
        self.assertEqual(yamls[0].replace('"first"', '"second"'), yamls[1])
        self.train("other", settings=["rank=4", "dropout=0.2", "order=length", "seed=43"])
        self.assertNotEqual(support.end_state(self.root / "other")["tensors"], first["tensors"])

    def test_run_yaml_of_ones_own_with_flags_on_top(self):
        (self.root / "own.yaml").write_text("model: bert-tiny\ntask: text:bad,good\nadapter: lora\nout: own\nepochs: 9\nbatch_size: 16\nlearning_rate: 0.01\n"
                                            "data: {train: data/train.tsv, eval: data/dev.tsv, test: data/test.tsv}\n")
        self.addCleanup(shutil.rmtree, self.root / "own", ignore_errors=True)
        self.ok("train", "own.yaml", "--set", "epochs=2", "--threads", 1)
        self.train("flags")
        own, flags = (support.end_state(self.root / out) for out in ("own", "flags"))
        self.assertEqual(own, flags)

    def test_what_an_adapter_suggests_without_effect_is_dropped(self):
        """A train: section is written for many runs: what has no effect in this one is no fault of the user's, and no part of its settings."""
        (self.root / "texts.yaml").write_text("edits: [{lora: {}}]\ntrain: {optimizer: adafactor, adafactor: {first_step: 9}, loss_unit: row, generation: {beams: 4}}\n")
        self.train("suggested", adapter="texts.yaml", settings=["max_steps=1", "optimizer=adamw"])
        text = (self.root / "suggested/run.yaml").read_text()
        for part in ('optimizer: "adamw"', "first_step: 0", 'loss_unit: "token"', "beams: 1"):
            self.assertIn(part, text)
        self.addCleanup(shutil.rmtree, self.root / "resolved", ignore_errors=True)
        self.ok("train", "suggested/run.yaml", "--out", "resolved", "--threads", 1, "--quiet")

    def test_another_adapter_keeps_the_settings_of_the_file(self):
        self.train("first", settings=["max_steps=1"])
        for more, says in (([], True), (["--quiet"], False)):
            self.addCleanup(shutil.rmtree, self.root / "second", ignore_errors=True)
            done = self.ok("train", "first/run.yaml", "--adapter", "ia3", "--out", "second", "--threads", 1, *more)
            self.assertEqual("the settings in 'first/run.yaml' stay; of those that 'ia3' suggests give way: learning_rate\n" in done.stderr, says)
            self.assertIn("learning_rate: 0.01", (self.root / "second/run.yaml").read_text())
            shutil.rmtree(self.root / "second")

    def test_an_adapter_without_edits_is_called_head_only(self):
        (self.root / "none.yaml").write_text("head: {dropout: 0}\n")
        (self.root / "empty.yaml").write_text("edits: []\nhead: {dropout: 0}\n")
        for adapter in ("none.yaml", "empty.yaml", "head"):
            self.assertIn(", head only", self.train("bare", adapter=adapter, settings=["max_steps=1"]).stderr.splitlines()[0])
            shutil.rmtree(self.root / "bare")
            self.assertRegex(self.ok("plan", "--model", "bert-tiny", "--adapter", adapter, "--no-timing").stdout, r"edits together \(none: head only\) +0 ")
        self.assertNotIn("head only", self.train("bare", settings=["max_steps=1"]).stderr)

    def test_start_from(self):
        self.train("base", settings=["epochs=1"])
        self.train("further", settings=["start_from=base/adapter", "max_steps=1", "learning_rate=0"])
        self.assertEqual(*((self.root / out / "adapter/adapter.safetensors").read_bytes() for out in ("base", "further")))

    def test_start_from_brings_the_definition_of_its_adapter(self):
        self.train("base3", settings=["max_steps=2", "rank=3", "adapter.dropout=0"])
        data = ["--model", "bert-tiny", "--task", "text:bad,good", "--data", "data", "--threads", 1]
        done = self.ok("train", *data, "--out", "own", "--set", "start_from=base3/adapter", "--set", "max_steps=1", "--set", "learning_rate=0")
        self.assertIn("base3/adapter on bert-tiny", done.stderr)
        self.assertEqual(*((self.root / out / "adapter/adapter.safetensors").read_bytes() for out in ("base3", "own")))
        self.assertIn("rank: 3", (self.root / "own/run.yaml").read_text())
        (self.root / "from.yaml").write_text("start_from: base3/adapter\nmax_steps: 1\nlearning_rate: 0\n")
        self.ok("train", "from.yaml", *data, "--out", "file")
        self.assertEqual(*((self.root / out / "adapter/adapter.safetensors").read_bytes() for out in ("base3", "file")))
        for adapter, settings, part in [("lora", [], "lora.rank 3 there, 8 here"), ("lora", ["rank=4", "adapter.sites=[attn.q]"], "lora.sites "),
                                        ("houlsby", [], "lora {"), ("head", [], " there, none here")]:
            refused = run("train", *data, "--adapter", adapter, "--out", "never", "--set", "start_from=base3/adapter",
                          *[part for each in settings for part in ("--set", each)], cwd=self.root)
            self.assert_refused(refused, 2, "start_from: the adapter in 'base3/adapter' is not of this run's shape: ", part, "without --adapter")
        three = run("train", "--model", "bert-tiny", "--task", "text:bad,good,other", "--data", "data", "--out", "never", "--set", "start_from=base3/adapter", cwd=self.root)
        self.assert_refused(three, 2, "outputs of the head 2 there, 3 here")

    def test_equal_scores_are_decided_by_the_loss_and_the_summary_names_the_step(self):
        """Nine rows in ten are of one label: the score of always that one does not move while the loss falls."""
        rows = "".join(f"a {'bad' if i % 10 == 0 else 'fine'} day\t{'bad' if i % 10 == 0 else 'good'}\n" for i in range(40))
        (self.root / "skewed.tsv").write_text("text\tlabel\n" + rows)
        done = self.ok("train", "--model", "bert-tiny", "--task", "text:bad,good", "--data", "skewed.tsv", "--eval", "skewed.tsv", "--adapter", "lora", "--out", "skewed",
                       "--threads", 1, *[part for each in ["epochs=6", "batch_size=10", "learning_rate=2e-4", "schedule=constant", "warmup=0", "dropout=0"] for part in ("--set", each)])
        scores = [(event["accuracy"], event["loss"], event["step"]) for event in support.log_events(self.root / "skewed") if event["event"] == "evaluate"]
        self.assertEqual(len({accuracy for accuracy, _, _ in scores}), 1, "the score stands still")
        best = min(scores, key=lambda score: score[1])[2]
        self.assertNotEqual(best, scores[0][2], "the loss falls")
        self.assertEqual(self.metrics("skewed")["step"], best)
        self.assertIn(f"kept: step {best} of 24\n", done.stdout)

    def test_keep_last(self):
        self.train("last", settings=["keep_best=false", "evaluate_every=3"])
        self.assertEqual(self.metrics("last")["step"], 16)
        self.check_scores("last", "bert-tiny", "data/dev.tsv", "data/test.tsv")

    def test_plan(self):
        target = self.dir / "plan.json"
        self.ok("plan", "--model", "bert-tiny", "--adapter", "lora", "--json", target, "--threads", 1)
        plan = json.loads(target.read_text())
        # 2 layers x (query, value) x rank 8 x (32 in + 32 out); two labels from 32
        self.assertEqual((plan["edit_parameters"], plan["head_parameters"], plan["stored_parameters"]), (2 * 2 * 8 * 64, 66, 2 * 2 * 8 * 64 + 66))
        trunk = sum(math.prod(shape) for name, (_, shape, _) in support.read_safetensors(self.root / "bert-tiny/model.safetensors").items() if name.startswith("bert."))
        self.assertEqual(plan["trunk_parameters"], trunk)
        self.assertAlmostEqual(plan["share_of_trunk"], plan["edit_parameters"] / trunk)
        self.assertGreater(plan["peak_bytes"], 4 * trunk)
        self.assertGreater(plan["step_seconds"], 0)
        self.assertEqual(sum(row["parameters"] for row in plan["rows"]), plan["edit_parameters"] + plan["head_parameters"])
        self.assertLessEqual({"version", "forward_flops_per_token", "training_flops_per_token", "batch_size", "length"}, plan.keys())
        self.assertEqual((plan["groups"]["head"], plan["groups"]["others"]), (plan["head_parameters"], plan["edit_parameters"]))

    def test_plan_times_a_step_of_every_kind(self):
        """Rows with the embedding that an adapter reads, steps of several batches, and no more tokens than fit beside an adapter's own rows."""
        def plan(text, *more):
            (self.dir / "own.yaml").write_text(text)
            self.ok("plan", "--model", "bert-tiny", "--adapter", self.dir / "own.yaml", "--json", self.dir / "plan.json", "--threads", 1, *more)
            return json.loads((self.dir / "plan.json").read_text())
        self.assertGreater(plan("edits: [{router: {experts: 2, embedding: 3}, of: {lora: {rank: 2}}}]\n")["step_seconds"], 0)
        lora = "edits: [{lora: {rank: 2}}]\n"
        plain, many = plan(lora), plan(lora + "train: {accumulate: 16}\n", "--rows", 256)
        self.assertGreater(many["step_seconds"], 4 * plain["step_seconds"], "a step of 16 batches; a machine that is busy may be 4 times as slow")
        self.assertAlmostEqual(many["run_seconds"], many["steps"] * many["step_seconds"])
        self.ok("plan", "--model", "bert-tiny", "--adapter", "prompt", "--set", "length=10", "--length", 30, "--threads", 1)
        long = ("plan", "--model", "bert-tiny", "--adapter", "prompt", "--set", "length=10", "--length", 31, "--threads", 1)
        self.assert_refused(support.run(*long, cwd=self.root), 2, "--length: this model serves at most 30 tokens beside", "found 31")
        self.ok(*long, "--no-timing")

    def test_plan_from_a_config_alone(self):
        alone = self.dir / "config.json"
        shutil.copy(self.root / "bert-tiny/config.json", alone)
        for model in (alone, self.dir):
            self.ok("plan", "--model", model, "--adapter", "lora", "--set", "rank=4", "--task", "text:a,b,c", "--json", self.dir / "plan.json")
            plan = json.loads((self.dir / "plan.json").read_text())
            self.assertEqual((plan["edit_parameters"], plan["head_parameters"]), (2 * 2 * 4 * 64, 99))
            self.assertNotIn("step_seconds", plan)

    def test_plan_of_an_encoder_decoder(self):
        configs = support.SOURCE / "tests/golden/configs"
        self.ok("plan", "--model", configs / "t5-v1_1-large.json", "--adapter", "lora", "--set", "rank=4", "--json", self.dir / "plan.json")
        plan = json.loads((self.dir / "plan.json").read_text())
        # 48 blocks x (query, value) x rank 4 x (1024 in + 1024 out)
        self.assertEqual((plan["trunk_parameters"], plan["edit_parameters"], plan["head_parameters"]), (783150080, 48 * 2 * 4 * 2048, 0))
        self.assertEqual(plan["groups"], {"experts": 0, "routers": 0, "gates": 0, "head": 0, "others": plan["edit_parameters"]})
        self.assertGreater(plan["peak_bytes"], 4 * 783150080)
        self.assertNotIn("step_seconds", plan)
        self.ok("plan", "--model", configs / "t5-v1_1-large.json", "--adapter", "lora", "--task", "text:bad,good", "--json", self.dir / "plan.json")
        self.assertEqual(json.loads((self.dir / "plan.json").read_text())["head_parameters"], 1024 * 1024 + 1024 + 2 * 1024 + 2)
        refused = support.run("plan", "--model", configs / "t5-v1_1-large.json", "--adapter", "lora", "--task", "text:bad,good", "--target-length", 4)
        self.assert_refused(refused, 2, "--target-length: found 4, and the task is answered by a head")

    def test_plan_counts_what_training_stores(self):
        for adapter in ("lora", "bitfit", "full", "head", "top-layers"):
            with self.subTest(adapter=adapter):
                self.ok("plan", "--model", "bert-tiny", "--adapter", adapter, "--no-timing", "--json", self.dir / "plan.json")
                plan = json.loads((self.dir / "plan.json").read_text())
                self.train("stored", adapter=adapter, settings=["max_steps=2", "learning_rate=0.001"])
                stored = support.read_safetensors(self.root / "stored/adapter/adapter.safetensors")
                self.assertEqual(plan["stored_parameters"], sum(math.prod(shape) for _, shape, _ in stored.values()))
                self.assertEqual(plan["edit_parameters"], self.metrics("stored")["edit_parameters"])
                shutil.rmtree(self.root / "stored")

    def test_a_plan_counts_both_passes(self):
        """A preset's consistency lets every row pass twice, but for a regression, which needs no second pass."""
        text = (support.SOURCE / "presets/adamix.yaml").read_text()
        self.assertIn("consistency: 1.0", text)
        (self.dir / "once.yaml").write_text(text.replace("consistency: 1.0", "consistency: 0"))
        (self.dir / "pairs.yaml").write_text(support.PAIR_TASK)
        def plan(adapter, *more):
            self.ok("plan", "--model", "bert-tiny", "--adapter", adapter, "--json", self.dir / "plan.json", *more)
            return json.loads((self.dir / "plan.json").read_text())
        two, one = plan("adamix"), plan(self.dir / "once.yaml")
        self.assertEqual((two["passes"], one["passes"]), (2, 1))
        self.assertEqual(two["training_flops_per_token"], 2 * one["training_flops_per_token"])
        self.assertEqual(two["forward_flops_per_token"], one["forward_flops_per_token"])
        self.assertGreater(two["peak_bytes"], one["peak_bytes"])
        counted = [plan(adapter, "--task", self.dir / "pairs.yaml", "--no-timing") for adapter in ("adamix", self.dir / "once.yaml")]
        for key in ("passes", "training_flops_per_token", "peak_bytes"):
            self.assertEqual(counted[0][key], counted[1][key])

    def test_a_run_of_a_regression_is_planned_with_one_pass(self):
        support.write_pairs(self.dir / "pairs.tsv", 20, 4)
        (self.dir / "pairs.yaml").write_text(support.PAIR_TASK)
        told = []
        for weight in (0, 1):
            self.ok("train", "--model", "bert-tiny", "--task", self.dir / "pairs.yaml", "--data", self.dir / "pairs.tsv", "--adapter", "adamix", "--out", self.dir / f"run{weight}",
                    "--threads", 1, "--quiet", "--set", "max_steps=1", f"consistency={weight}")
            told.append(support.log_events(self.dir / f"run{weight}")[0]["predicted_peak_bytes"])
        self.assertEqual(told[0], told[1])

    def test_inspect(self):
        self.train("seen", settings=["epochs=1"])
        told = self.ok("inspect", "adapter", "seen/adapter").stdout
        for part in ("rank: 8", 'labels: ["bad", "good"]', "0.lora/enc.1.attn.v.lora_b", "head/out.bias", "trained from bert-tiny", "seed 42"):
            self.assertIn(part, told)
        tensors = support.read_safetensors(self.root / "seen/adapter/adapter.safetensors")
        tensors |= {"extra.ids": ("I64", [2], struct.pack("<2q", 3, 4)), "extra.mask": ("BOOL", [2], b"\1\0")}
        support.write_safetensors(self.root / "seen/adapter/adapter.safetensors", tensors)
        told = self.ok("inspect", "adapter", "seen/adapter").stdout
        self.assertRegex(told, r"extra.ids +\[2\] +2 +5.0000\nextra.mask +\[2\] +2 +1.0000\n")
        told = self.ok("inspect", "model", "--model", "roberta-tiny").stdout
        for part in ("roberta, width 32, 2 layers, 4 heads of 8", "at most 40 tokens", "enc.0.attn.q"):
            self.assertIn(part, told)
        told = self.ok("inspect", "data", "--model", "bert-tiny", "--task", "text:bad,good", "--data", "data/dev.tsv", "--rows", 2, "--max-length", 6).stdout
        for row, (text, label) in enumerate(support.rows(30, 2)[:2]):
            words = len(text.split())   # each a token, between [CLS] and [SEP]
            cut = f", cut by {words - 4}" if words > 4 else ""
            self.assertRegex(told, rf"(?m)^row {row}, line {row + 2}, label {label}, {min(words, 4) + 2} tokens{cut}\n  \[CLS\] .* \[SEP\]$")
        self.assertIn("30 rows", told)
        self.assertIn("longest 6", told)

    def test_inspect_tokens(self):
        (self.dir / "lines.txt").write_text("a great film\n\nthe qzx\n", encoding="utf-8")
        lines = self.ok("inspect", "tokens", "--model", "bert-tiny", "--file", self.dir / "lines.txt", "--json").stdout.splitlines()
        vocabulary = json.loads((self.root / "bert-tiny/tokenizer.json").read_text())["model"]["vocab"]
        decoded = [json.loads(line) for line in lines]
        self.assertEqual(decoded[0]["ids"], [2, *(vocabulary[word] for word in "a great film".split()), 3])
        self.assertEqual(decoded[0]["offsets"], [[0, 0], [0, 1], [2, 7], [8, 12], [0, 0]])
        self.assertEqual(decoded[1]["ids"], [2, 3])
        self.assertEqual(decoded[2]["ids"], [2, vocabulary["the"], 1, 3])

    def test_trace(self):
        self.train("traced")
        target = self.dir / "t.safetensors"
        self.ok("trace", "--model", "bert-tiny", "--adapter", "traced/adapter", "--text", "a great film", "--out", target)
        tensors = support.read_safetensors(target)
        self.assertEqual({name: shape for name, (_, shape, _) in tensors.items()},
                         {"ids": [5], "hidden.0": [5, 32], "hidden.1": [5, 32], "hidden.2": [5, 32], "pooled": [1, 32], "logits": [1, 2]})
        (self.dir / "one.jsonl").write_text('{"text": "a great film"}\n')
        self.ok("predict", "--model", "bert-tiny", "--adapter", "traced/adapter", "--data", self.dir / "one.jsonl", "--out", self.dir / "p.jsonl", "--threads", 1)
        predicted = json.loads((self.dir / "p.jsonl").read_text())["logits"]
        for a, b in zip(support.floats(tensors["logits"]), predicted):
            self.assertAlmostEqual(a, b, delta=1e-5)
        ids = [int.from_bytes(tensors["ids"][2][i:i + 8], "little") for i in range(0, 40, 8)]
        self.ok("trace", "--model", "bert-tiny", "--adapter", "traced/adapter", "--ids", ",".join(map(str, ids)), "--out", self.dir / "u.safetensors")
        self.assertEqual(support.read_safetensors(self.dir / "u.safetensors"), tensors)
        self.ok("trace", "--model", "bert-tiny", "--text", "a great film", "--out", self.dir / "bare.safetensors")
        self.assertNotIn("logits", support.read_safetensors(self.dir / "bare.safetensors"))

    def test_help_and_version(self):
        done = self.ok("--help")
        for command in ("train", "eval", "predict", "trace", "plan", "inspect"):
            self.assertIn(command, done.stdout)
        self.assertRegex(self.ok("--version").stdout, r"^graft \d+\.\d+")
        for command in COMMANDS:
            with self.subTest(command=command):
                told = self.ok(*command, "--help").stdout
                if command != ["inspect"]:
                    self.assertIn(f"graft {' '.join(command)} ", told, "no example")
                    self.assertIn("Example", told)

    def test_quiet_is_quiet(self):
        done = self.train("quiet", more=["--quiet"])
        warnings = self.metrics("quiet")["warnings"]
        self.assertGreater(len(warnings), 0, "of so short a run")
        self.assertEqual((done.stdout, done.stderr), ("", "".join(f"warning: {warning}\n" for warning in warnings)))

    def test_names_steer_no_terminal(self):
        name = "x\x1b[31m\u202e"
        preset = self.root / f"{name}.yaml"
        preset.write_bytes((support.SOURCE / "presets/lora.yaml").read_bytes())
        self.addCleanup(preset.unlink)
        said = [self.train(name, adapter=f"./{preset.name}"), self.ok("train", "--resume", name)]
        subject = ["--model", "bert-tiny", "--adapter", f"{name}/adapter"]
        rows = [*subject, "--data", "data/dev.tsv", "--threads", 1]
        out = str(self.dir / name)
        for args in (["predict", *rows, "--out", out + ".jsonl"], ["predict", *rows, "--errors", "--out", out + ".csv"], ["average", f"{name}/adapter", f"{name}/adapter", "--out", out + "-a"],
                     ["merge", *subject, "--out", out + "-m"], ["trace", *subject, "--text", "a great film", "--out", out + ".safetensors"], ["inspect", "adapter", f"{name}/adapter"],
                     ["collect", "--model", "bert-tiny", "--task", "text:bad,good", "--data", "data/dev.tsv", "--positions", "all", "--out", out + "-c.jsonl"]):
            with self.subTest(args=args):
                said.append(self.ok(*args))
        for done in said:
            for stream in (done.stdout, done.stderr):
                self.assertNotRegex(stream, r"[\x1b\u202e]", done.args)
            if done.args[1] != "inspect":
                self.assertIn("x\\x1b[31m\\u202e", done.stdout, done.args)

    def test_labels_that_would_steer_a_terminal(self):
        """They are escaped in what is shown and written, and mean what they are: run.yaml begins the run again, and makes it longer."""
        good = "good\x7f\u202e"
        lines = [json.dumps({"text": text, "label": good if label == "good" else label}) + "\n" for text, label in support.rows(60, 1)]
        (self.root / "marked.jsonl").write_text("".join(lines))
        self.assertIn("good\\x7f\\u202e", self.ok("inspect", "data", "marked.jsonl").stdout)
        self.train("marked", data="marked.jsonl", task=f"text:bad,{good}", settings=["schedule=constant"])
        self.ok("train", "--resume", "marked")
        self.addCleanup(shutil.rmtree, self.root / "again", ignore_errors=True)
        self.ok("train", "marked/run.yaml", "--out", "again", "--threads", 1, "--quiet")
        self.ok("train", "--resume", "marked", "--set", "epochs=3", "--threads", 1)
        told = self.ok("inspect", "adapter", "marked/adapter").stdout
        self.assertIn("good\\x7f\\u202e", told)
        self.assertNotRegex(told, r"[\x7f\u202e]")
        self.ok("predict", "--model", "bert-tiny", "--adapter", "marked/adapter", "--data", "marked.jsonl", "--out", self.dir / "p.jsonl", "--threads", 1)
        self.assertLessEqual({json.loads(line)["prediction"] for line in (self.dir / "p.jsonl").read_text().splitlines()}, {"bad", good})

    def test_same_seed_same_bytes(self):
        states = []
        for out in ("one", "two"):
            self.train(out, adapter="full", settings=["learning_rate=0.001", "dropout=0.1", "precision=bf16"])
            states.append(support.end_state(self.root / out))
        self.assertEqual(*states)


if __name__ == "__main__":
    support.main()
