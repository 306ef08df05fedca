"""How texts end and are chosen by what the model's folder says: end-of-turn tokens of chat formats, generation_config.json, and flags over it."""

import json
import shutil

import support
import test_generate
from support import run

CHAT = ["<|im_start|>", "<|im_end|>"]


def with_chat_tokens(folder):
    """The tokenizer of make_decoder with chatml's two tokens, as ids 5 and 6."""
    size = json.loads((folder / "config.json").read_text())["vocab_size"]
    tokenizer = support.wordpiece(size)
    words = [word for word in tokenizer["model"]["vocab"] if not word.startswith("[")]
    tokens = list(tokenizer["model"]["vocab"])[:5] + CHAT + words
    tokenizer["model"]["vocab"] = {token: i for i, token in enumerate(tokens[:size])}
    tokenizer["added_tokens"] += [{**tokenizer["added_tokens"][0], "id": 5 + i, "content": token} for i, token in enumerate(CHAT)]
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer), encoding="utf-8")


class ChatEnds(support.Case):
    """A model that learnt a format's turns ends its answers there, though its own end token is another one."""

    ROWS = [("fine great", "happy"), ("happy", "warm bright"), ("lovely", "kind"), ("brave calm", "clear lovely"), ("clear", "bad")]

    def check(self, model, end):
        (self.dir / "chat.yaml").write_text("name: talk\nkind: generation\nprompt: text\ntarget: answer\nchat: chatml\nmetrics: [exact_match]\n")
        rows = "".join(json.dumps({"text": text, "answer": answer}) + "\n" for text, answer in self.ROWS)
        (self.dir / "rows.jsonl").write_text(rows)
        settings = ["max_steps=150", "batch_size=5", "learning_rate=0.02", "schedule=constant", "warmup=0", "evaluate_every=50", "checkpoint_every=never", "dropout=0"]
        self.assert_done(run("train", "--model", model, "--task", self.dir / "chat.yaml", "--data", self.dir / "rows.jsonl", "--eval", self.dir / "rows.jsonl",
                             "--adapter", "full", "--out", self.dir / "run", "--threads", 1, "--quiet", *[part for each in settings for part in ("--set", each)]))
        losses = [event["loss"] for event in support.log_events(self.dir / "run") if event["event"] == "step"]
        self.assertLess(losses[-1], 0.05, "the rows are known by heart")
        metrics = json.loads((self.dir / "run" / "metrics.json").read_text())
        self.assertEqual(metrics["eval"]["exact_match"], 1)
        common = ["--model", model, "--adapter", self.dir / "run" / "adapter", "--data", self.dir / "rows.jsonl", "--threads", 1, "--quiet"]
        scores = self.dir / "scores.json"
        self.assert_done(run("eval", *common, "--json", scores))
        self.assertEqual(json.loads(scores.read_text())["exact_match"], 1)
        for way in ([], ["--beams", 2]):
            lines = [json.loads(line) for line in self.assert_done(run("generate", *common, *way)).stdout.splitlines()]
            self.assertEqual([(line["output"], line["finish"], line["tokens"][-1]) for line in lines], [(answer, "end", end) for _, answer in self.ROWS])
        shutil.rmtree(self.dir / "run")

    def test_decoders(self):
        for family in ("gpt2-tiny", "llama-grouped", "smollm2-tiny"):
            with self.subTest(family=family):
                folder = test_generate.make_decoder(self.dir / family, family)
                with_chat_tokens(folder)
                self.check(folder, 6)

    def test_a_gguf_file(self):
        self.check(test_generate.make_gguf(self.dir / "model.gguf"), 2)


class Settings(support.SharedCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        for family in ("gpt2-tiny", "bart-tiny"):
            test_generate.make_decoder(cls.root / family, family)
        (cls.root / "task.yaml").write_text("name: go-on\nkind: generation\nprompt: text\ntarget: answer\nmetrics: [exact_match]\n")
        rows = [{"text": text, "answer": "kind"} for text in ("fine great", "happy", "warm bright lovely", "kind fine")]
        (cls.root / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))

    def model(self, family, **settings):
        """A folder of the family whose generation_config.json has these settings."""
        folder = self.dir / "model"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(self.root / family, folder)
        (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": 4, **settings}))
        return folder

    def generate(self, model, *args):
        done = self.assert_done(run("generate", "--model", model, "--task", self.root / "task.yaml", "--data", self.root / "rows.jsonl", "--threads", 1, *args))
        told = [line for line in done.stderr.splitlines() if "generation_config.json" in line]
        return [json.loads(line)["tokens"] for line in done.stdout.splitlines()], told

    def test_settings_are_defaults_and_told_in_one_line(self):
        flags = {"num_beams": ("--beams", 3), "length_penalty": ("--length-penalty", 2.0), "no_repeat_ngram_size": ("--no-repeat-ngram", 2), "min_new_tokens": ("--min-new-tokens", 4),
                 "max_new_tokens": ("--max-new-tokens", 9), "repetition_penalty": ("--repetition-penalty", 1.5), "encoder_no_repeat_ngram_size": ("--encoder-no-repeat-ngram", 1)}
        for family in ("gpt2-tiny", "bart-tiny"):
            settings = {"max_new_tokens": 9}
            for key in ([], ["num_beams"], ["num_beams", "length_penalty"], ["no_repeat_ngram_size"], ["min_new_tokens"], ["repetition_penalty"], ["encoder_no_repeat_ngram_size"], list(flags)):
                with self.subTest(family=family, key=key):
                    settings = {each: flags[each][1] for each in ["max_new_tokens", *key]}
                    model = self.model(family, **settings)
                    by_file, told = self.generate(model)
                    self.assertEqual(len(told), 1, told)
                    self.assertIn("max_new_tokens 9", told[0])
                    by_flags, untold = self.generate(model, "--ignore-generation-config", *[part for each in settings for part in map(str, flags[each])])
                    self.assertEqual(untold, [])
                    self.assertEqual(by_file, by_flags)

    def test_flags_win(self):
        settings = {"num_beams": 4, "early_stopping": True, "length_penalty": 2.0, "max_length": 30, "min_length": 12, "no_repeat_ngram_size": 2}
        model = self.model("bart-tiny", **settings)
        tokens, told = self.generate(model, "--beams", 1, "--max-new-tokens", 6, "--min-new-tokens", 0, "--no-repeat-ngram", 0)
        self.assertEqual(told, [], "nothing of the file counts")
        self.assertEqual(tokens, self.generate(self.model("bart-tiny"), "--max-new-tokens", 6)[0])
        beams, told = self.generate(self.model("bart-tiny", **settings), "--beams", 2)
        for part in ("max_total_tokens 30", "min_total_tokens 12", "no_repeat_ngram 2", "length_penalty 2", "early_stopping yes"):
            self.assertIn(part, told[0])
        self.assertNotIn("beams 4", told[0])

    def test_forced_tokens(self):
        model = self.model("bart-tiny", forced_bos_token_id=7, forced_eos_token_id=4, max_length=8)
        for way in ([], ["--beams", 3], ["--temperature", 1.0, "--seed", 3]):
            tokens, told = self.generate(model, *way)
            self.assertTrue(all(each[0] == 7 and each[-1] == 4 and len(each) <= 7 for each in tokens), tokens)
        config = json.loads((model / "config.json").read_text())
        del config["forced_eos_token_id"]
        (model / "config.json").write_text(json.dumps({**config, "eos_token_id": 2}))
        (model / "generation_config.json").unlink()
        tokens, told = self.generate(model, "--max-new-tokens", 3)
        self.assertTrue(all(each[-1] == 2 for each in tokens), "a BART forces its end token by itself")

    def test_random_choices_that_the_file_asks_for(self):
        model = self.model("gpt2-tiny", do_sample=True, temperature=5.0, max_new_tokens=6)
        first, told = self.generate(model, "--seed", 1)
        self.assertIn("temperature 5", told[0])
        self.assertIn("top_k 50", told[0])
        self.assertNotEqual(first, self.generate(model, "--seed", 2)[0])
        self.assertEqual(first, self.generate(model, "--seed", 1)[0])
        greedy, told = self.generate(model, "--temperature", 0)
        self.assertNotIn("top_k", told[0])
        self.assertEqual(greedy, self.generate(model, "--temperature", 0, "--seed", 2)[0])
        beams, told = self.generate(model, "--beams", 3, "--seed", 1)
        self.assertIn("temperature 5", told[0])
        self.assertEqual(beams, self.generate(model, "--beams", 3, "--seed", 1)[0])
        self.assertNotEqual(beams, self.generate(model, "--beams", 3, "--seed", 2)[0], "as in transformers, beams are drawn")

    def test_what_is_not_supported_is_refused_with_the_way_out(self):
        for settings, part in [({"guidance_scale": 1.5}, "/guidance_scale"), ({"num_beam_groups": 2}, "/num_beam_groups"), ({"do_sample": True, "min_p": 0.1}, "/min_p"),
                               ({"sequence_bias": [[[5], 1.0]]}, "/sequence_bias"), ({"forced_bos_token_id": 4000}, "forced_bos: expected tokens below the vocabulary's 40"),
                               ({"bad_words_ids": [[]]}, "bad_words: expected lists of tokens"), ({"num_beams": "four"}, "/num_beams")]:
            with self.subTest(settings=settings):
                model = self.model("gpt2-tiny", **settings)
                self.assert_refused(run("generate", "--model", model, "--prompt", "fine"), 2, part)
                self.assert_done(run("generate", "--model", model, "--prompt", "fine", "--ignore-generation-config"))
        model = self.model("gpt2-tiny", token_healing=False, chat_format="x")
        self.assertIn("keys without a meaning: chat_format", self.generate(model, "--max-new-tokens", 2)[1][0])

    def test_a_run_takes_them_into_its_settings(self):
        model = self.model("gpt2-tiny", num_beams=2, max_new_tokens=3, suppress_tokens=[7])
        args = ["train", "--model", model, "--task", self.root / "task.yaml", "--data", self.root / "rows.jsonl", "--adapter", "lora", "--threads", 1, "--set", "max_steps=1"]
        scored = ["--eval", self.root / "rows.jsonl"]
        told = self.assert_done(run(*args, *scored, "--out", self.dir / "run")).stderr
        self.assertRegex(told, r"texts are written as .*generation_config.json says: max_new_tokens 3, beams 2 and suppress_tokens \[7\]")
        text = (self.dir / "run" / "run.yaml").read_text()
        for part in ("beams: 2", "max_new_tokens: 3"):
            self.assertIn(part, text)
        self.assertRegex(text, r"suppress_tokens:\s*(\[7\]|- 7)")
        self.assertNotIn("generation_config", self.assert_done(run(*args, *scored, "--out", self.dir / "own", "--ignore-generation-config")).stderr)
        self.assertIn("beams: 1", (self.dir / "own" / "run.yaml").read_text())
        self.assertNotIn("generation_config", self.assert_done(run(*args, "--out", self.dir / "unscored")).stderr)
        self.assertIn("beams: 1", (self.dir / "unscored" / "run.yaml").read_text())
        self.assert_done(run(*args, *scored, "--out", self.dir / "set", "--set", "generation.beams=1"))
        self.assertIn("beams: 1", (self.dir / "set" / "run.yaml").read_text())
        (model / "generation_config.json").write_text('{"eos_token_id": 4, "guidance_scale": 2}')
        self.assert_refused(run(*args, *scored, "--out", self.dir / "refused"), 2, "/guidance_scale", "--ignore-generation-config")
        self.assertFalse((self.dir / "refused").exists())

    def test_a_length_of_all_tokens_that_a_prompt_exceeds(self):
        model = self.model("gpt2-tiny", max_length=4)   # [CLS] warm bright lovely [SEP] has five
        args = ["--model", model, "--task", self.root / "task.yaml", "--data", self.root / "rows.jsonl"]
        for command in ("generate", "eval"):
            self.assert_refused(run(command, *args), 2, "rows.jsonl:1: the prompt has 4 tokens", "at most 4 tokens in all", "give max_new_tokens")
        self.assert_done(run("generate", *args, "--max-new-tokens", 2))


if __name__ == "__main__":
    support.main()
