"""The commands that methods brought: every preset trains, resumes and predicts; routes, records, average, merge, the table of compositions."""

import json
import math
import re
import subprocess
import sys

import support
from support import run
from test_generate import make_decoder

PRESETS = sorted(path.stem for path in (support.SOURCE / "presets").glob("*.yaml"))
# Tiny models have 32 columns, 12 tokens a row and two layers.
SMALLER = {"prompt": ["length=4"], "pfeiffer": ["reduction=4"], **{name: ["mlp=8"] for name in ("mam", "unipelt-ap", "unipelt-apl", "unipelt-aplb")}}

WRITER = support.SOURCE / "examples/toy/writer"


def rows_of(tensor):
    values, width = support.floats(tensor), tensor[1][-1]
    return [values[i:i + width] for i in range(0, len(values), width)]


def mean_of(vectors):
    return [sum(column) / len(vectors) for column in zip(*vectors)]


def softmax(logits):
    exponents = [math.exp(logit - max(logits)) for logit in logits]
    return [exponent / sum(exponents) for exponent in exponents]


def shares_of_first_query(model, adapter, ids):
    """By the equations: softmax(norm(word + position) router) of each token at dec.0.attn.q."""
    trunk, edits = support.read_safetensors(model / "model.safetensors"), support.read_safetensors(adapter / "adapter.safetensors")
    words, positions, scale, shift = (rows_of(trunk[f"transformer.{name}"]) for name in ("wte.weight", "wpe.weight", "h.0.ln_1.weight", "h.0.ln_1.bias"))
    router = rows_of(edits["0.router/dec.0.attn.q.router"])   # [in, experts]
    shares = []
    for place, token in enumerate(ids):
        h = [word + position for word, position in zip(words[token], positions[place])]
        mean = sum(h) / len(h)
        deviation = math.sqrt(sum((value - mean) ** 2 for value in h) / len(h) + 1e-5)
        x = [(value - mean) / deviation * gain + bias for value, gain, bias in zip(h, scale[0], shift[0])]
        shares.append(softmax([sum(a * b for a, b in zip(x, column)) for column in zip(*router)]))
    return shares


class Methods(support.SharedCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        support.make_model(cls.root / "model", "bert-tiny")
        (cls.root / "data").mkdir()
        support.write_tsv(cls.root / "data/train.tsv", support.rows(48, 1))
        support.write_tsv(cls.root / "data/dev.tsv", support.rows(20, 2))

    def ok(self, *args):
        return self.assert_done(run(*args, cwd=self.root))

    def train(self, out, adapter, settings=(), more=()):
        args = ["train", "--model", "model", "--task", "text:bad,good", "--data", "data", "--adapter", adapter, "--out", out, "--threads", 1, "--quiet", *more]
        for setting in ("max_steps=4", "batch_size=8", "max_length=32", "warmup=0", *settings):
            args += ["--set", setting]
        self.ok(*args)
        return self.root / out

    def predict(self, adapter, *more):
        self.ok("predict", "--model", "model", "--adapter", adapter, "--data", "data/dev.tsv", "--out", self.dir / "p.jsonl", "--threads", 1, "--quiet", *more)
        return [json.loads(line) for line in (self.dir / "p.jsonl").read_text().splitlines()]

    def test_every_preset_trains_and_predicts(self):
        for preset in PRESETS:
            with self.subTest(preset=preset):
                out = self.train(f"preset-{preset}", preset, SMALLER.get(preset, []))
                metrics = json.loads((out / "metrics.json").read_text())
                self.assertEqual(metrics["steps"], 4)
                self.assertEqual(len(self.predict(f"preset-{preset}/adapter")), 20)

    def test_the_head_of_every_preset_tells_the_truth(self):
        page = (support.SOURCE / "doc/methods.md").read_text()
        for preset in PRESETS:
            with self.subTest(preset=preset):
                text = (support.SOURCE / f"presets/{preset}.yaml").read_text()
                head = dict(re.findall(r"^# (\w+): +(.*)$", text, re.M))
                self.assertEqual(head["Use"].split()[:2], ["--adapter", preset])
                self.assertEqual(f"{preset}:published" in head["Use"], "\npublished:\n" in text)
                for section in re.findall(r'"(.*?)"', head["See"]):
                    self.assertRegex(page, rf"\n### {re.escape(section)}( |\n)")
                flag, *settings = head["Change"].split()
                self.assertEqual(flag, "--set")
                self.train(f"changed-{preset}", preset, ["max_steps=1", "max_length=16", *settings])

    def test_a_gate_over_a_whole_text_is_for_decoders_under_a_head(self):
        make_decoder(self.root / "gpt2")
        (self.dir / "gate.yaml").write_text("edits:\n  - gate: {pool: mean}\n    of: {lora: {}}\n")
        (self.dir / "words.yaml").write_text("name: words\nkind: generation\nprompt: text\ntarget: label\nmetrics: [perplexity]\n")
        command = ["train", "--model", "gpt2", "--data", "data", "--adapter", self.dir / "gate.yaml", "--out", self.dir / "run", "--threads", 1, "--quiet", "--set", "max_steps=3",
                   "adapter.rank=2", "--task"]
        self.assert_refused(run(*command, self.dir / "words.yaml", cwd=self.root), 2, "/edits/0/gate/pool", "a decoder's token would see those that it is to predict")
        self.ok(*command, "text:bad,good")
        self.ok("predict", "--model", "gpt2", "--adapter", self.dir / "run/adapter", "--data", "data/dev.tsv", "--out", self.dir / "p.jsonl", "--threads", 1, "--quiet",
                "--records", self.dir / "r.jsonl")
        self.assertEqual(json.loads((self.dir / "run/adapter/adapter.json").read_text())["edits"][0]["gate"]["pool"], "mean")
        plan = ["plan", "--model", "gpt2", "--adapter", self.dir / "gate.yaml", "--no-timing", "--set", "adapter.rank=2"]
        self.ok(*plan, "--task", "text:bad,good")
        self.assert_refused(run(*plan, cwd=self.root), 2, "/edits/0/gate/pool")

    def test_two_passes_give_the_same_bytes_again(self):
        whole = self.train("whole", "adamix", ["dropout=0.1", "checkpoint_every=2 steps"])
        again = self.train("again", "adamix", ["dropout=0.1", "checkpoint_every=never"])
        self.assertEqual((whole / "adapter/adapter.safetensors").read_bytes(), (again / "adapter/adapter.safetensors").read_bytes())
        one = self.train("one", "adamix", ["dropout=0.1", "consistency=0"])
        self.assertNotEqual((one / "adapter/adapter.safetensors").read_bytes(), (whole / "adapter/adapter.safetensors").read_bytes())

    def test_routes_of_a_mixture(self):
        self.train("routes", "adamix", ["learning_rate=0.05", "max_steps=8"])
        logits = {}
        for routing in ("merged", "random", "fixed", "ensemble-logits", "ensemble-probabilities"):
            rows = self.predict("routes/adapter", "--routing", routing)
            logits[routing] = [row["logits"] for row in rows]
            self.assertEqual("information" in rows[0], routing.startswith("ensemble"), routing)
        self.assertEqual(len({json.dumps(each) for each in logits.values()}), 5, "each level answers in its own way")
        again = [row["logits"] for row in self.predict("routes/adapter", "--routing", "random")]
        self.assertEqual(again, logits["random"])
        other = [row["logits"] for row in self.predict("routes/adapter", "--routing", "random", "--route-seed", 1)]
        self.assertNotEqual(other, logits["random"])
        for row in self.predict("routes/adapter", "--routing", "ensemble-probabilities", "--routes", 3):
            self.assertGreaterEqual(row["entropy"] + 1e-6, row["information"])
        # merged, it is the plain adapter that average makes
        self.ok("average", "routes/adapter", "--model", "model", "--out", self.dir / "plain")
        plain = [row["logits"] for row in self.predict(self.dir / "plain")]
        for a, b in zip(plain, logits["merged"]):
            for x, y in zip(a, b):
                self.assertAlmostEqual(x, y, places=5)
        self.assert_refused(run("average", "routes/adapter", "--model", "model", "--out", self.dir / "plain", cwd=self.root), 2, "holds an adapter already")

    def test_routes_of_texts_and_tokens(self):
        self.train("units", "adamix")
        logits = {unit: [row["logits"] for row in self.predict("units/adapter", "--routing", "random", "--route-unit", unit)] for unit in ("all", "text", "token")}
        self.assertEqual(len({json.dumps(rows) for rows in logits.values()}), 3)
        for unit in ("text", "token"):
            again = [row["logits"] for row in self.predict("units/adapter", "--routing", "random", "--route-unit", unit)]
            self.assertEqual(again, logits[unit])
        learned = self.dir / "learned.yaml"
        learned.write_text("edits:\n  - stochastic: {experts: 3, scores: learned}\n    of: {lora: {}}\n")
        self.train("learned", learned)
        done = run("eval", "--model", "model", "--adapter", "learned/adapter", "--data", "data/dev.tsv", "--routing", "random", cwd=self.root)
        self.assert_refused(done, 2, "has no stochastic mixture to route through")

    def test_routing_needs_a_mixture(self):
        self.train("plain-lora", "lora")
        done = run("eval", "--model", "model", "--adapter", "plain-lora/adapter", "--data", "data/dev.tsv", "--routing", "random", cwd=self.root)
        self.assert_refused(done, 2, "has no stochastic mixture to route through")

    def test_gates_and_shares_are_recorded(self):
        out = self.train("gated", "unipelt-ap", ["mlp=8"])
        self.predict("gated/adapter", "--records", self.dir / "records.jsonl")
        records = [json.loads(line) for line in (self.dir / "records.jsonl").read_text().splitlines()]
        self.assertEqual(len(records), 20 * 2 * 2)   # rows, layers, gates
        self.assertEqual({len(record["values"]) for record in records}, {1})
        self.assertTrue(all(0 < record["values"][0] < 1 and record["tokens"] > 2 for record in records))
        events = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
        means = next(event["means"] for event in events if event["event"] == "records")
        self.assertEqual(set(means), {record["name"] for record in records})
        routed = self.train("routed", "mov")
        means = next(json.loads(line)["means"] for line in (routed / "log.jsonl").read_text().splitlines() if '"records"' in line)
        shares = [values for name, values in means.items() if name.endswith(".router")]
        self.assertTrue(shares and all(abs(sum(values) - 1) < 1e-4 for values in shares))

    def test_more_is_recorded_on_demand(self):
        out = self.train("noted", "unipelt-ap", ["mlp=8", "record.rows=true", "record.tokens=true", "record.changes=true", "record.gradients=true"])
        lines = [json.loads(line) for line in (out / "records/eval.jsonl").read_text().splitlines()]
        by_name = {}
        for line in lines:
            by_name.setdefault(line["name"], []).append(line)
        gates = [name for name in by_name if name.endswith(".gate")]
        self.assertEqual(len(gates), 4)
        for name in gates:
            for whole, each in zip(by_name[name], by_name[name + ".tokens"], strict=True):
                self.assertEqual(whole["id"], each["id"])
                values = [value for (value,) in each["values"]]
                self.assertEqual(each["places"], sorted(set(each["places"])))
                if "enc.1.ffn" not in name:   # of the last layer a classifier's row alone is left
                    self.assertEqual(len(values), whole["tokens"])
                self.assertAlmostEqual(sum(values) / len(values), whole["values"][0], places=5)
        changes = [name for name in by_name if name.endswith(".change")]
        self.assertTrue(changes and all(line["values"][0] > 0 for name in changes for line in by_name[name]))
        summary = json.loads((out / "records.json").read_text())["eval"]
        for name in gates:
            values = [line["values"][0] for line in by_name[name]]
            self.assertAlmostEqual(summary[name]["mean"][0], sum(values) / len(values), places=5)
            self.assertEqual(sum(summary[name]["counts"][0]), len(values))
            self.assertAlmostEqual(summary[name]["low"], min(values), places=6)
        for event in support.log_events(out):
            if event["event"] == "step":
                whole = math.sqrt(sum(norm ** 2 for norm in event["gradient_norms"].values()))
                self.assertAlmostEqual(whole, event["gradient_norm"], delta=1e-5 * whole)
        plain = self.train("unnoted", "unipelt-ap", ["mlp=8"])
        self.assertEqual((plain / "adapter/adapter.safetensors").read_bytes(), (out / "adapter/adapter.safetensors").read_bytes())

    def test_changes_are_recorded_of_what_has_no_gate(self):
        out = self.train("changing", "lora", ["record.changes=true"])
        lines = [json.loads(line) for line in (out / "records/eval.jsonl").read_text().splitlines()]
        self.assertEqual({line["name"].rsplit(".", 1)[1] for line in lines}, {"change"})
        self.assertEqual(len(lines) % 20, 0)
        self.train("prefixed", "prefix", SMALLER.get("prefix", []))
        done = run("eval", "--model", "model", "--adapter", "prefixed/adapter", "--data", "data/dev.tsv", "--records", self.dir / "r.jsonl", "--record", "changes", cwd=self.root)
        self.assert_refused(done, 2, "has no gate, no router and no collect, so nothing to record; leave it out")

    def test_what_has_nothing_to_record_is_refused(self):
        for adapter, setting, *parts in (("lora", "rows", "neither a gate nor a router", "record.changes"), ("head", "changes", "nothing that leaves a site"),
                                         ("lora", "routes", "draws no experts"), ("lora", "experts", "has no mixture")):
            done = run("train", "--model", "model", "--task", "text:bad,good", "--data", "data", "--adapter", adapter, "--out", "unrecorded", "--set", f"record.{setting}=true", cwd=self.root)
            self.assert_refused(done, 2, f'record.{setting}: found true, and adapter "{adapter}"', "leave it out", *parts)
            self.assertFalse((self.root / "unrecorded").exists())
        make_decoder(self.dir / "gpt2")
        (self.dir / "pick.yaml").write_text("name: pick\nkind: choice\nprompt: text\noptions: options\ntarget: target\nmetrics: [accuracy]\n")
        (self.dir / "rows.jsonl").write_text("".join(json.dumps({"text": word, "options": [" sad", " kind"], "target": i % 2}) + "\n" for i, word in enumerate(support.GOOD)))
        (self.dir / "edits.yaml").write_text("edits: [{router: {experts: 2}, of: {lora: {rank: 2}}}]\n")
        done = run("train", "--model", "gpt2", "--task", "pick.yaml", "--data", "rows.jsonl", "--adapter", "edits.yaml", "--out", "run", "--set", "record.rows=true", "data.held_out=0.5",
                   cwd=self.dir)
        self.assert_refused(done, 2, 'record.rows: found true, and task "pick" is a choice, whose options share a prompt')
        (self.dir / "study.yaml").write_text(f"study: moods\nmodel: {self.root}/model\nmethods: {{lora: lora, gated: {{adapter: unipelt-ap, set: {{mlp: 8}}}}}}\n"
                                             f"tasks: {{mood: {{task: 'text:bad,good', data: {self.root}/data}}}}\nset: {{max_steps: 4, record.rows: true}}\n")
        done = run("sweep", self.dir / "study.yaml", "--out", self.dir / "out", cwd=self.dir)
        self.assert_refused(done, 2, "study.yaml:5:", "record.rows: found true, and adapter")
        self.assertFalse((self.dir / "out").exists())

    def test_drawn_experts_and_their_likeness_are_recorded(self):
        out = self.train("drawn", "adamix", ["record.routes=true", "record.experts=true", "max_steps=6"])
        events = support.log_events(out)
        routes = [event["routes"] for event in events if event["event"] == "step"]
        self.assertEqual(len(routes), 6)
        for step in routes:
            self.assertTrue(step and all(len(experts) == 2 and all(0 <= expert < 4 for expert in experts) for experts in step.values()), "two passes a step")
        self.assertGreater(len({json.dumps(step) for step in routes}), 1)
        means = [event["means"] for event in events if event["event"] == "records"][-1]
        cosines = {name: values[0] for name, values in means.items() if name.endswith(".cosine")}
        tensors = support.read_safetensors(out / "adapter/adapter.safetensors")
        self.assertTrue(cosines)
        for name, found in cosines.items():
            own = name.removesuffix(".cosine").removeprefix("0.stochastic/")
            experts = [support.floats(tensors[f"0.stochastic/expert.{e}/{own}"]) for e in range(4)]
            pairs = []
            for i in range(4):
                for j in range(i):
                    dot, a, b = (sum(x * y for x, y in zip(u, v)) for u, v in ((experts[i], experts[j]), (experts[i], experts[i]), (experts[j], experts[j])))
                    pairs.append(dot / math.sqrt(a * b) if a * b else 0)
            self.assertAlmostEqual(found, sum(pairs) / 6, places=4)

    def test_a_gate_can_be_forced(self):
        self.train("forced", "unipelt-ap", ["mlp=8", "learning_rate=0.05", "max_steps=8"])
        logits = {value: [row["logits"] for row in self.predict("forced/adapter", *(("--gate", value) if value else ()))] for value in ("", "0", "1", "1.gate/=0")}
        self.assertEqual(len({json.dumps(each) for each in logits.values()}), 4)
        done = run("predict", "--model", "model", "--adapter", "forced/adapter", "--data", "data/dev.tsv", "--out", self.dir / "o.jsonl", "--gate", "0", "--records",
                   self.dir / "r.jsonl", cwd=self.root)
        self.assert_done(done)
        self.assertEqual({line["values"][0] for line in map(json.loads, (self.dir / "r.jsonl").read_text().splitlines())}, {0})
        name = self.assert_forced_by_its_whole_name("forced/adapter")
        for gate, part in (("2", "expected a value in 0..1"), ("3.gate/=0", "no gate has a name that begins with"), ("x", "expected a value"),
                           ("0x1", "expected a value"), (" 0.5", "expected a value"), (f"{name}=", "expected a value"),
                           ("1.gate/enc.9=0", "no gate has a name that begins with \"1.gate/enc.9\""), (f"{name}s=0", f"(did you mean '{name}'?)")):
            done = run("eval", "--model", "model", "--adapter", "forced/adapter", "--data", "data/dev.tsv", "--gate", gate, cwd=self.root)
            self.assert_refused(done, 2, "--gate", part)

    def assert_forced_by_its_whole_name(self, adapter):
        """A name as records have it, and that gate alone."""
        def values(*more):
            out = {}
            self.predict(adapter, "--records", self.dir / "r.jsonl", *more)
            for line in map(json.loads, (self.dir / "r.jsonl").read_text().splitlines()):
                out.setdefault(line["name"], set()).add(line["values"][0])
            return out
        name = list(values())[-1]
        self.assertTrue(name.endswith(".gate"), name)
        forced = values("--gate", f"{name}=0.25")
        self.assertEqual([each for each, own in forced.items() if own == {0.25}], [name])
        return name

    def test_a_central_gate_can_be_forced(self):
        (self.dir / "central.yaml").write_text("edits: [{gate: {kind: central}, of: [{lora: {rank: 2}}, {prefix: {length: 4}}]}]\n")
        self.train("central", self.dir / "central.yaml", ["learning_rate=0.05", "max_steps=8"])
        self.assert_forced_by_its_whole_name("central/adapter")

    def test_eval_records_what_routers_did_with_texts(self):
        (self.dir / "task.yaml").write_text("name: next\nkind: generation\nprompt: letter\ntarget: answer\nid: name\nmetrics: [perplexity]\n")
        (self.dir / "edits.yaml").write_text("edits: [{router: {experts: 3}, of: {lora: {sites: [attn.q], rank: 2}}}]\n")
        rows = [("a", "a", "bbb"), (7, "cd", "e"), ("long", "f", "ghijklm"), ("z", "n", "o")]   # not in order of length, which is that of the passes
        (self.dir / "rows.jsonl").write_text("".join(json.dumps({"name": name, "letter": letter, "answer": answer}) + "\n" for name, letter, answer in rows))
        adapter = self.dir / "run/adapter"
        self.ok("train", "--model", WRITER / "model", "--task", self.dir / "task.yaml", "--data", WRITER, "--adapter", self.dir / "edits.yaml", "--out", self.dir / "run",
                "--threads", 1, "--quiet", *(part for setting in ("max_steps=8", "batch_size=8", "warmup=0", "learning_rate=0.1") for part in ("--set", setting)))
        evaluate = ["eval", "--model", WRITER / "model", "--adapter", adapter, "--data", self.dir / "rows.jsonl", "--threads", 1, "--quiet", "--json"]
        done = self.ok(*evaluate, self.dir / "scores.json", "--records", self.dir / "records.jsonl")
        scores = json.loads((self.dir / "scores.json").read_text())
        printed = {name: value for name, value in map(str.split, done.stdout.splitlines())}
        self.assertEqual(printed, {name: f"{value:.4g}" for name, value in scores.items() if name not in ("version", "cut")}, "what the file says, rounded for the eye")
        self.ok(*evaluate, self.dir / "plain.json")
        self.assertEqual(support.without_clocks(scores), support.without_clocks(json.loads((self.dir / "plain.json").read_text())), "records change no score")

        records = [json.loads(line) for line in (self.dir / "records.jsonl").read_text().splitlines()]
        vocabulary = json.loads((WRITER / "model/tokenizer.json").read_text())["model"]["vocab"]
        texts = {name: [vocabulary[letter] for letter in prompt + answer] + [vocabulary["</s>"]] for name, prompt, answer in rows}
        names = [f"0.router/dec.{layer}.attn.q.router{what}" for layer in (0, 1) for what in ("", ".entropy")]
        self.assertEqual([(record["id"], record["tokens"], record["name"]) for record in records], [(row, len(ids), name) for row, ids in texts.items() for name in names])
        self.assertEqual((scores["rows"], scores["tokens"]), (len(rows), sum(map(len, texts.values()))))
        self.assertAlmostEqual(scores["perplexity"], math.exp(scores["loss"]), places=9)
        values = {(record["id"], record["name"]): record["values"] for record in records}
        for row, ids in texts.items():
            shares = shares_of_first_query(WRITER / "model", adapter, ids)
            entropy = [-sum(share * math.log(share) for share in each) for each in shares]
            for name, expected in zip(names, (mean_of(shares), mean_of([[each] for each in entropy]))):
                self.assertEqual(len(values[row, name]), len(expected))
                for a, b in zip(values[row, name], expected):
                    self.assertAlmostEqual(a, b, places=6)

    def test_seeds_average_and_merge(self):
        for seed in (1, 2):
            self.train(f"seed{seed}", "lora", [f"seed={seed}"])
        done = self.ok("average", "seed1/adapter", "seed2/adapter", "--model", "model", "--out", "soup", "--weights", "1,3")
        self.assertIn("2 adapters averaged", done.stdout)
        self.assert_refused(run("average", "seed1/adapter", "seed2/adapter", "--model", "model", "--out", "soup2", "--weights", "1", cwd=self.root), 2, "--weights: expected one for each of the 2 adapters")
        self.assert_refused(run("average", "seed1/adapter", "--model", "model", "--out", "soup2", cwd=self.root), 2, "has no stochastic mixture")
        done = self.ok("merge", "--model", "model", "--adapter", "soup", "--out", "merged", "--data", "data/dev.tsv")
        self.assertIn("drift over 20 rows: at most ", done.stdout)
        self.assertLess(json.loads((self.root / "merged/merge.json").read_text())["largest_drift"], 1e-5)
        self.assertTrue((self.root / "merged/tokenizer.json").exists())
        self.assert_refused(run("merge", "--model", "model", "--adapter", "soup", "--out", "merged", cwd=self.root), 2, "is there already")
        self.ok("inspect", "model", "--model", "merged")
        self.ok("export", "--to", "peft", "--model", "model", "--adapter", "soup", "--out", "peft")
        done = self.ok("import", "--from", "peft", "--model", "model", "--task", "text:bad,good", "peft", "--out", "imported")
        self.assertIn(": 1 edit, ", done.stdout)

    def test_the_table_of_compositions_is_the_documented_one(self):
        printed = self.ok("inspect", "compositions").stdout
        text = (support.SOURCE / "doc/methods.md").read_text()
        documented = text.split("<!-- compositions -->\n")[1].split("<!-- end -->")[0]
        self.assertEqual(documented, printed, "run graft inspect compositions and put its table into doc/methods.md")

    def test_the_tables_of_options_are_the_documented_ones(self):
        done = subprocess.run([sys.executable, support.SOURCE / "tools/option_tables.py", support.GRAFT, support.SOURCE], capture_output=True, text=True)
        self.assertEqual((done.returncode, done.stdout), (0, ""), done.stderr)

    def test_what_inspect_says_of_options(self):
        listed = self.ok("inspect", "method").stdout.splitlines()
        names = [line.split()[0] for line in listed]
        self.assertEqual(names[:2] + names[-2:], ["lora", "dora", "router", "head"])
        self.assertEqual([method["name"] for method in json.loads(self.ok("inspect", "method", "--json").stdout)], names)
        told = self.ok("inspect", "method", "lora").stdout.splitlines()
        self.assertEqual(told[0], "lora: a low-rank update beside a linear layer")
        self.assertEqual(told[2].split(), ["option", "default", "values", "meaning"])
        self.assertIn("rank          8                 1 to 4096", told[5])
        self.assertEqual(json.loads(self.ok("inspect", "method", "lora", "--json").stdout)["options"][2],
                         {"name": "rank", "default": "8", "values": "1 to 4096", "meaning": "width R of the update"})
        self.assert_refused(run("inspect", "method", "lroa"), 2, 'unknown method "lroa" (did you mean \'lora\'?); there are lora, dora,')
        settings = {row["name"]: row for row in json.loads(self.ok("inspect", "settings", "--json").stdout)}
        self.assertEqual(settings["generation.beams"]["values"], "1 to 1024")
        self.assertEqual(settings["learning_rate"]["default"], "0.001")
        self.assertIn("learning_rate", self.ok("inspect", "settings").stdout)

    def test_flags_have_the_limits_and_the_words_of_their_settings(self):
        beams = next(row for row in json.loads(self.ok("inspect", "settings", "--json").stdout) if row["name"] == "generation.beams")
        told = " ".join(self.ok("generate", "--help").stdout.split())
        self.assertIn(f"[1 - 1024] {beams['meaning']} (default: the model's own, else 1)", told)
        self.assert_refused(run("generate", "--model", WRITER / "model", "--prompt", "a", "--beams", 1025), 2, "--beams: Value 1025 not in range 1 to 1024")

    def test_every_preset_is_in_the_documentation(self):
        text = (support.SOURCE / "doc/methods.md").read_text()
        for preset in PRESETS:
            self.assertTrue(f"`{preset}`" in text or preset in ("bitfit", "full", "top-layers", "head"), preset)


if __name__ == "__main__":
    support.main()
