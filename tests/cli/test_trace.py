"""graft trace on every family of tests/golden/trunks: what it writes equals what `transformers` computes in float64."""

import json
import math
import pathlib
import struct

import support
from support import run
from test_generate import make_decoder

TRUNKS = support.SOURCE / "tests/golden/trunks"
MODELS = json.loads((TRUNKS / "manifest.json").read_text())["models"]
REFUSED = "logits-bias"            # stored so that no program may read it; the tests of weights say why
ABSOLUTE, RELATIVE = 1e-5, 1e-4    # the tolerance of float32 on tiny models


def integers(tensor):
    dtype, _, data = tensor
    assert dtype in ("I32", "I64"), dtype
    return list(struct.unpack(f"<{len(data) // 8}q" if dtype == "I64" else f"<{len(data) // 4}i", data))


def rows(tensor, begin, count):
    """Those rows of a [T, C] tensor, as one list."""
    width = tensor[1][1]
    return support.floats(tensor)[begin * width:(begin + count) * width]


def starts(lengths):
    return [sum(lengths[:i]) for i in range(len(lengths))]


class Trace(support.Case):
    def trace(self, name, ids, *more):
        target = self.dir / "trace.safetensors"
        self.assert_done(run("trace", "--model", TRUNKS / name, "--ids", ",".join(map(str, ids)), "--out", target, *more))
        return support.read_safetensors(target)

    def assert_close(self, found, expected, what):
        self.assertEqual(len(found), len(expected), what)
        for a, b in zip(found, expected):
            self.assertTrue(math.isfinite(a) and abs(a - b) <= ABSOLUTE + RELATIVE * abs(b), f"{what}: {a} for {b}")

    def check(self, name):
        """Of a model with two stacks and one with one: the longest text that it serves."""
        expected = support.read_safetensors(TRUNKS / name / "expected.safetensors")
        ids, lengths = integers(expected["ids"]), integers(expected["lengths"])
        config = json.loads((TRUNKS / name / "config.json").read_text())
        served = config.get("sliding_window") or config.get("n_positions") or config.get("max_position_embeddings") or math.inf
        served = min(served, config.get("max_position_embeddings", served))
        n = max((i for i, length in enumerate(lengths) if length <= served), key=lambda i: lengths[i])
        begin = starts(lengths)[n]
        own = {"": (begin, lengths[n])}
        more = []
        if "target_ids" in expected:
            targets, target_lengths = integers(expected["target_ids"]), integers(expected["target_lengths"])
            own["dec."] = (starts(target_lengths)[n], target_lengths[n])
            more = ["--target-ids", ",".join(map(str, targets[own["dec."][0]:sum(own["dec."])]))]
        found = self.trace(name, ids[begin:begin + lengths[n]], *more)
        compared = set()
        for tensor in MODELS[name]["tensors"]:
            if tensor == "logits" and config["architectures"][0].endswith("ForMaskedLM"):
                continue   # an encoder's trace has the logits of its adapter's head
            first, count = own["dec." if "dec." in own and (tensor.startswith("dec.") or tensor == "logits") else ""]
            with self.subTest(model=name, tensor=tensor):
                self.assert_close(rows(found[tensor], 0, count), rows(expected[tensor], first, count), tensor)
                self.assertEqual(found[tensor][1][0], count)
            compared.add(tensor)
        self.assertLessEqual({"hidden.0", "hidden.1"}, compared, "the embedding and a block")
        return found

    def test_every_family(self):
        names = [name for name, entry in MODELS.items() if entry["storage"] != REFUSED]
        self.assertGreaterEqual(len(names), 20)
        for name in names:
            self.check(name)

    def test_decoder_reads_its_start_token_where_nothing_is_given(self):
        found = self.trace("t5-tiny", [5, 6, 7])
        self.assertEqual(integers(found["dec.ids"]), [0])
        self.assertEqual(found["logits"][1], [1, 40])
        self.assertEqual(found, self.trace("t5-tiny", [5, 6, 7], "--target-ids", "0"))
        self.assertNotEqual(found["logits"], self.trace("t5-tiny", [5, 6, 7], "--target-ids", "9")["logits"])

    def test_the_decoders_prompt_is_its_start_token(self):
        """A gate over the prompt sees none of the ids behind the start token, as in training: its weight is the same whatever they are."""
        model = make_decoder(self.dir / "t5", "t5-tiny")
        (self.dir / "gated.yaml").write_text("edits: [{gate: {pool: prompt_mean}, of: {lora: {rank: 2}}}]\n")
        (self.dir / "task.yaml").write_text(support.GO_ON_TASK)
        (self.dir / "rows.jsonl").write_text("".join(json.dumps({"text": text, "answer": "kind"}) + "\n" for text in ("fine great", "happy")))
        self.assert_done(run("train", "--model", model, "--task", self.dir / "task.yaml", "--data", self.dir / "rows.jsonl", "--adapter", self.dir / "gated.yaml",
                             "--out", self.dir / "run", "--threads", 1, "--quiet", "--set", "max_steps=4", "learning_rate=0.1"))
        found = []
        for last in (7, 8):
            self.assert_done(run("trace", "--model", model, "--adapter", self.dir / "run/adapter", "--ids", "5,6,7", "--target-ids", f"0,5,{last}",
                                 "--out", self.dir / "trace.safetensors"))
            found.append(support.read_safetensors(self.dir / "trace.safetensors")["dec.hidden.2"])
        self.assertEqual(rows(found[0], 0, 2), rows(found[1], 0, 2))
        self.assertNotEqual(rows(found[0], 2, 1), rows(found[1], 2, 1))

    def test_refusals(self):
        out = self.dir / "t.safetensors"
        for told, args, parts in (("one stack", ["gpt2-tiny", "--target-ids", "3"], ["--target-ids", "gpt2"]),
                                  ("out of range", ["bart-tiny", "--target-ids", "3,40"], ["--target-ids", "0..39", "40"]),
                                  ("no types", ["gpt2-tiny", "--type-ids", "0,0"], ["--type-ids: a gpt2 model has no segment types; leave it out"]),
                                  ("too long", ["bart-tiny", "--target-ids", ",".join(["3"] * 41)], ["--target-ids", "at most 40", "41"])):
            with self.subTest(told):
                self.assert_refused(run("trace", "--model", TRUNKS / args[0], "--ids", "3,4", *args[1:], "--out", out), 2, *parts)
                self.assertFalse(pathlib.Path(out).exists())

    def test_rows_of_the_adapter_take_positions(self):
        model = support.make_model(self.dir / "model")   # of 40 positions
        support.write_tsv(self.dir / "rows.tsv", support.rows(8, 1))
        self.assert_done(run("train", "--model", model, "--task", "text:bad,good", "--data", self.dir / "rows.tsv", "--adapter", "prompt", "--out", self.dir / "run",
                             "--threads", 1, "--quiet", "--set", "max_steps=1", "length=10"))
        def trace(words):
            return run("trace", "--model", model, "--adapter", self.dir / "run/adapter", "--text", " ".join(["film"] * words), "--out", self.dir / "t.safetensors")
        self.assert_done(trace(28))
        self.assert_refused(trace(29), 2, "--text: this model serves at most 30 tokens beside the 10 rows of the adapter, found 31; give fewer")


if __name__ == "__main__":
    support.main()
