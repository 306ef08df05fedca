"""An adapter on a GGUF file, trained in either precision: merged into a folder, written for PEFT and read back."""

import json

import support
import test_generate
from support import run


class Adapters(support.SharedCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.model = test_generate.make_gguf(cls.root / "model.gguf")
        cls.task, cls.rows = cls.root / "talk.yaml", cls.root / "rows.jsonl"
        cls.task.write_text("name: talk\nkind: generation\nprompt: text\ntarget: answer\nchat: model\nmetrics: [perplexity]\n")
        rows = [{"text": text, "answer": answer} for text, answer in [("fine great", "happy"), ("happy", "warm"), ("lovely", "kind"), ("brave calm", "clear")]]
        cls.rows.write_text("".join(json.dumps(row) + "\n" for row in rows))
        settings = ["max_steps=30", "batch_size=4", "learning_rate=0.02", "schedule=constant", "warmup=0", "evaluate_every=never", "checkpoint_every=never"]
        for precision in ("fp32", "bf16"):
            done = run("train", "--model", cls.model, "--task", cls.task, "--data", cls.rows, "--adapter", "lora", "--out", cls.root / precision,
                       "--threads", 1, "--quiet", *[part for each in [*settings, f"precision={precision}"] for part in ("--set", each)])
            assert done.returncode == 0, done.stderr

    def scores(self, *model):
        file = self.dir / "scores.json"
        self.assert_done(run("eval", *model, "--data", self.rows, "--threads", 1, "--quiet", "--json", file))
        return support.without_clocks(json.loads(file.read_text()))

    def written(self, *model):
        lines = self.assert_done(run("generate", *model, "--data", self.rows, "--max-new-tokens", 8, "--threads", 1, "--quiet")).stdout.splitlines()
        return [json.loads(line)["tokens"] for line in lines]

    def test_merges_into_a_folder_that_answers_alike(self):
        bare = self.scores("--model", self.model, "--task", self.task)["perplexity"]
        for precision in ("fp32", "bf16"):
            with self.subTest(trained_in=precision):
                adapter, out = ["--model", self.model, "--adapter", self.root / precision / "adapter"], self.dir / precision
                self.assert_done(run("merge", *adapter, "--data", self.rows, "--out", out))
                self.assertEqual({path.name for path in out.iterdir()},
                                 {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "merge.json"})
                merged = ["--model", out, "--task", self.task]
                expected = self.scores(*adapter)["perplexity"]
                self.assertLess(expected, 0.9 * bare, "the adapter does something")
                self.assertAlmostEqual(self.scores(*merged)["perplexity"] / expected, 1, delta=1e-4)
                self.assertEqual(self.written(*merged), self.written(*adapter))
                tokenizer = json.loads((out / "tokenizer_config.json").read_text())
                self.assertEqual([tokenizer[key] for key in ("eos_token", "pad_token", "chat_template")],
                                 ["<|endoftext|>", "<|endoftext|>", test_generate.CHATML])
                config = json.loads((out / "config.json").read_text())
                self.assertEqual((config["architectures"], config["eos_token_id"], config["torch_dtype"]), (["LlamaForCausalLM"], 0, "float32"))
        half = self.dir / "half"
        self.assert_done(run("merge", *adapter, "--dtype", "bf16", "--out", half))
        self.assertEqual(json.loads((half / "config.json").read_text())["torch_dtype"], "bfloat16")
        self.assertEqual({dtype for dtype, _, _ in support.read_safetensors(half / "model.safetensors").values()}, {"BF16"})
        refused = run("merge", *adapter, "--dtype", "bf16", "--max-drift", 1e-9, "--out", self.dir / "refused")
        self.assert_refused(refused, 2, "more than --max-drift 1e-09 allows")
        self.assertFalse((self.dir / "refused").exists())

    def test_is_written_for_peft_and_read_back(self):
        for precision in ("fp32", "bf16"):
            with self.subTest(trained_in=precision):
                adapter, peft, back = self.root / precision / "adapter", self.dir / f"{precision}-peft", self.dir / f"{precision}-back"
                self.assert_done(run("export", "--to", "peft", "--model", self.model, "--adapter", adapter, "--out", peft))
                self.assertEqual(json.loads((peft / "adapter_config.json").read_text())["task_type"], "CAUSAL_LM")
                names = set(support.read_safetensors(peft / "adapter_model.safetensors"))
                self.assertIn("base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight", names)
                self.assert_done(run("import", "--from", "peft", "--model", self.model, "--task", self.task, peft, "--out", back))
                self.assertEqual(support.read_safetensors(back / "adapter.safetensors"), support.read_safetensors(adapter / "adapter.safetensors"))
                for command in (self.scores, self.written):
                    self.assertEqual(command("--model", self.model, "--adapter", back), command("--model", self.model, "--adapter", adapter))


if __name__ == "__main__":
    support.main()
