"""graft generate on a tiny GPT-2: a prompt, a file, chosen and refused flags."""

import json
import math
import pathlib
import random
import shutil
import struct

import support
from support import run

TRUNKS = support.SOURCE / "tests" / "golden" / "trunks"


def make_decoder(folder, name="gpt2-tiny"):
    """A copy of a golden trunk with a tokenizer of as many words, which ends texts with the mask token (id 4)."""
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True)
    for file in (TRUNKS / name).iterdir():
        if file.name not in ("expected.safetensors", "training.safetensors"):
            shutil.copy(file, folder / file.name)
    size = json.loads((folder / "config.json").read_text())["vocab_size"]
    (folder / "tokenizer.json").write_text(json.dumps(support.wordpiece(size)), encoding="utf-8")
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": 4}))
    return folder


CHATML = ("{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}"
          "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}")


def make_gguf(path):
    """A GGUF file of a tiny LLaMA with random weights. Its tokens are letters, chatml's two marks (ids 1 and 2), and the one that ends its texts (id 0)."""
    def text(value):
        return struct.pack("<Q", len(value.encode())) + value.encode()

    def integer(value):
        return struct.pack("<II", 4, value)

    def word(value):
        return struct.pack("<I", 8) + text(value)

    def many(kind, values, pack):
        return struct.pack("<IIQ", 9, kind, len(values)) + b"".join(map(pack, values))

    width, heads, hidden, layers = 16, 2, 24, 2
    tokens = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "\u0120", "\u010a", *map(chr, range(ord("a"), ord("z") + 1)), ".", ",", "\u0120t"]
    control = 3
    keys = {
        "general.architecture": word("llama"), "llama.block_count": integer(layers), "llama.context_length": integer(128),
        "llama.embedding_length": integer(width), "llama.feed_forward_length": integer(hidden), "llama.attention.head_count": integer(heads),
        "llama.rope.freq_base": struct.pack("<If", 6, 100), "llama.attention.layer_norm_rms_epsilon": struct.pack("<If", 6, 1e-6),
        "tokenizer.ggml.model": word("gpt2"), "tokenizer.ggml.pre": word("gpt-2"),
        "tokenizer.ggml.tokens": many(8, tokens, text), "tokenizer.ggml.token_type": many(5, [control] * 3 + [1] * (len(tokens) - 3), struct.Struct("<i").pack),
        "tokenizer.ggml.merges": many(8, ["\u0120 t"], text), "tokenizer.ggml.eos_token_id": integer(0), "tokenizer.ggml.padding_token_id": integer(0),
        "tokenizer.chat_template": word(CHATML),
    }
    tensors = {"token_embd.weight": (len(tokens), width), "output_norm.weight": (width,)}
    for layer in range(layers):
        shapes = {"attn_q": (width, width), "attn_k": (width, width), "attn_v": (width, width), "attn_output": (width, width), "attn_norm": (width,),
                  "ffn_gate": (hidden, width), "ffn_up": (hidden, width), "ffn_down": (width, hidden), "ffn_norm": (width,)}
        tensors.update({f"blk.{layer}.{part}.weight": shape for part, shape in shapes.items()})
    draw = random.Random(4)
    header, data = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(keys)) + b"".join(text(key) + value for key, value in keys.items()), b""
    for name, shape in tensors.items():
        header += text(name) + struct.pack("<I", len(shape)) + b"".join(struct.pack("<Q", size) for size in reversed(shape)) + struct.pack("<IQ", 0, len(data))
        numbers = [draw.gauss(len(shape) == 1, 0.2) for _ in range(math.prod(shape))]
        data += struct.pack(f"<{len(numbers)}f", *numbers)
        data += bytes(-len(data) % 32)
    pathlib.Path(path).write_bytes(header + bytes(-len(header) % 32) + data)
    return pathlib.Path(path)


class Generate(support.SharedCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        make_decoder(cls.root / "gpt2")
        support.make_model(cls.root / "bert")
        (cls.root / "task.yaml").write_text(support.GO_ON_TASK)
        rows = [{"id": f"row {i}", "text": text, "answer": "kind"} for i, text in enumerate(["fine great", "happy", "warm bright lovely", "kind fine"])]
        (cls.root / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))

    def write(self, *args):
        return self.assert_done(run("generate", "--model", "gpt2", "--threads", 1, *args, cwd=self.root))

    def lines(self, *args):
        return [json.loads(line) for line in self.write("--data", "rows.jsonl", "--task", "./task.yaml", "--max-new-tokens", 5, *args).stdout.splitlines()]

    def test_prompt_is_answered_on_standard_output(self):
        done = self.write("--prompt", "fine great", "--max-new-tokens", 5)
        one = json.loads(self.write("--prompt", "fine great", "--max-new-tokens", 5, "--json", "--show-prompt").stdout)
        self.assertEqual(done.stdout, one["output"] + "\n")
        self.assertEqual(one["prompt"], "fine great")
        self.assertEqual(set(one), {"id", "prompt", "output", "tokens", "logprob", "finish"})
        self.assertLess(one["logprob"], 0)
        self.assertRegex(done.stderr, r"^\d+ tokens read, \d+ written in [\d.]+ s, [\d.]+ tokens/s\n$")
        self.assertEqual(self.write("--prompt", "fine great", "--max-new-tokens", 5, "--quiet").stderr, "")

    def test_every_command_names_the_rows_that_it_cuts(self):
        positions = json.loads((self.root / "gpt2" / "config.json").read_text())["n_positions"]
        words = ["fine"] * (positions + 7)
        (self.root / "long.jsonl").write_text(json.dumps({"text": "fine", "answer": "kind"}) + "\n" + json.dumps({"text": "kind", "answer": " ".join(words)}) + "\n")
        (self.root / "prompts.jsonl").write_text(json.dumps({"text": "fine"}) + "\n" + json.dumps({"text": " ".join(words)}) + "\n")
        args = ["--model", "gpt2", "--task", "./task.yaml", "--threads", 1, "--quiet"]
        done = self.assert_done(run("eval", *args, "--data", "long.jsonl", "--json", "scores.json", cwd=self.root))
        taken = len(words) + 4 - positions   # beside [CLS] kind [SEP] and an end token
        self.assertEqual(done.stderr, f"graft: data: 1 of 2 rows cut to {positions} tokens: long.jsonl:2 by {taken}\n")
        self.assertEqual(json.loads((self.root / "scores.json").read_text())["cut"], [{"id": 1, "tokens": taken}])
        done = self.assert_done(run("generate", *args, "--data", "prompts.jsonl", cwd=self.root))
        taken = len(words) + 2 - positions
        self.assertEqual(done.stderr, f"graft: prompts: 1 of 2 rows cut to {positions} tokens: prompts.jsonl:2 by {taken}\n")
        self.assertEqual([json.loads(line).get("cut") for line in done.stdout.splitlines()], [None, taken])
        (self.root / "worse.jsonl").write_text(json.dumps({"text": "fine", "answer": "kind"}) + "\n" + json.dumps({"text": " ".join(words), "answer": "kind"}) + "\n")
        self.assert_refused(run("eval", *args, "--data", "worse.jsonl", cwd=self.root), 2, "worse.jsonl:2: cut to max_length", "keeps no token of its target")

    def test_rows_of_the_table_without_a_token_say_nothing(self):
        """A model whose word table is larger than its vocabulary may choose a row to spare."""
        make_decoder(self.root / "padded")
        (self.root / "padded" / "tokenizer.json").write_text(json.dumps(support.wordpiece(24)), encoding="utf-8")
        args = ["generate", "--model", "padded", "--data", "rows.jsonl", "--task", "./task.yaml", "--temperature", 50, "--threads", 1]
        lines = [json.loads(line) for line in self.assert_done(run(*args, cwd=self.root)).stdout.splitlines()]
        self.assertTrue(any(token >= 24 for line in lines for token in line["tokens"]), "some row to spare is drawn")
        self.assertTrue(all(line["output"] for line in lines))

    def test_scoring_writes_as_much_as_the_model_has_room_for(self):
        (self.root / "exact.yaml").write_text("name: exact\nkind: generation\nprompt: text\ntarget: answer\nmetrics: [exact_match]\n")
        args = ["eval", "--model", "gpt2", "--task", "./exact.yaml", "--data", "rows.jsonl", "--threads", 1]
        self.assertIn("exact_match", self.assert_done(run(*args, cwd=self.root)).stdout)
        for more, part in ((["--max-new-tokens", 500], "500 new tokens are asked for"), (["--max-new-tokens", 3, "--min-new-tokens", 4], "min_new_tokens: 4 are more than")):
            refused = run(*args, *more, cwd=self.root)
            self.assert_refused(refused, 2, part)
            self.assertNotIn("row 4/4", refused.stderr, "before losses are computed")
        self.assertIn("graft: rows.jsonl:1: 4 of the 40 positions", run(*args, "--max-new-tokens", 500, cwd=self.root).stderr)

    def test_training_refuses_texts_that_cannot_be_written_before_it_begins(self):
        (self.root / "exact.yaml").write_text("name: exact\nkind: generation\nprompt: text\ntarget: answer\nmetrics: [exact_match]\n")
        args = ["train", "--model", "gpt2", "--data", "rows.jsonl", "--adapter", "lora", "--out", "unwritten", "--threads", 1, "--quiet", "--set", "max_steps=1"]
        positions = json.loads((self.root / "gpt2" / "config.json").read_text())["n_positions"]
        longest = 5   # [CLS] warm bright lovely [SEP]
        room = positions - longest + 1
        scored = args + ["--task", "./exact.yaml", "--eval", "rows.jsonl"]
        for task, settings, parts in [
            (scored, [f"generation.max_new_tokens={room + 1}"], [f"generation.max_new_tokens: found {room + 1}", f"{positions} positions", f"at most {room}"]),
            (scored, ["generation.min_new_tokens=200"], ["rows.jsonl:1: texts of at least 200 new tokens are asked for"]),
            (scored, ["generation.top_p=0.9"], ["generation", "top_k and top_p choose among random tokens", "set a temperature"]),
            (args + ["--task", "./exact.yaml"], ["generation.beams=2"], ["generation.beams: found 2", "no evaluation of this run writes texts"]),
            (args + ["--task", "./task.yaml", "--eval", "rows.jsonl"], ["generation.beams=2"], ["generation.beams: found 2", "no evaluation of this run writes texts"]),
        ]:
            self.assert_refused(run(*task, *(part for each in settings for part in ("--set", each)), cwd=self.root), 2, *parts)
            self.assertFalse((self.root / "unwritten").exists(), settings)
        self.assert_done(run(*scored, "--set", f"generation.max_new_tokens={room}", cwd=self.root))

    def test_rows_do_not_depend_on_their_batch(self):
        for way in ([], ["--temperature", 1.5, "--seed", 3], ["--beams", 3]):
            lines = self.lines(*way)
            self.assertEqual([line["id"] for line in lines], [0, 1, 2, 3])
            for batch in (1, 3):
                for one, other in zip(lines, self.lines(*way, "--batch", batch)):
                    self.assertEqual(one["tokens"], other["tokens"])
                    self.assertAlmostEqual(one["logprob"], other["logprob"], places=4)
        self.assertNotEqual([line["tokens"] for line in self.lines("--temperature", 1.5, "--seed", 3)], [line["tokens"] for line in self.lines("--temperature", 1.5, "--seed", 4)])

    def test_out_takes_the_lines(self):
        out = self.dir / "answers.jsonl"
        expected = self.lines()
        done = self.write("--data", "rows.jsonl", "--task", "./task.yaml", "--max-new-tokens", 5, "--out", out)
        self.assertEqual(done.stdout, "")
        self.assertEqual([json.loads(line) for line in out.read_text().splitlines()], expected)

    def test_out_never_replaces_the_rows(self):
        rows = shutil.copy(self.root / "rows.jsonl", self.dir / "rows.jsonl")
        before = rows.read_bytes()
        self.assert_refused(run("generate", "--model", "gpt2", "--task", "./task.yaml", "--data", rows, "--out", rows, cwd=self.root), 2, "is the file of --data", "choose another")
        self.assertEqual(rows.read_bytes(), before)

    def test_an_empty_prompt_needs_a_token_that_begins_a_text(self):
        make_decoder(self.root / "bare")
        tokenizer = support.wordpiece(json.loads((self.root / "bare" / "config.json").read_text())["vocab_size"])
        (self.root / "bare" / "tokenizer.json").write_text(json.dumps({**tokenizer, "post_processor": None}), encoding="utf-8")
        for prompt, part in [("", "--prompt: the text is empty"), ("  ", '--prompt: "  " has no tokens')]:
            self.assert_refused(run("generate", "--model", "bare", "--prompt", prompt, cwd=self.root), 2, part)
            self.write("--prompt", prompt)   # [CLS] [SEP] go before what is written

    def test_a_row_without_a_token_is_refused_by_its_line(self):
        make_decoder(self.root / "unopened")
        config = json.loads((self.root / "unopened" / "config.json").read_text())
        tokenizer = {**support.wordpiece(config["vocab_size"]), "post_processor": None}
        (self.root / "unopened" / "tokenizer.json").write_text(json.dumps(tokenizer), encoding="utf-8")
        rows = [{"text": "fine", "answer": "kind"}, {"text": "", "answer": "kind"}]
        (self.root / "empty.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        (self.root / "exact.yaml").write_text("name: exact\nkind: generation\nprompt: text\ntarget: answer\nmetrics: [exact_match]\n")
        model = ["--model", "unopened", "--task", "./exact.yaml"]   # its metric writes after the prompt alone
        for command in (["generate", *model, "--data", "empty.jsonl"], ["eval", *model, "--data", "empty.jsonl"],
                        ["train", *model, "--data", "rows.jsonl", "--eval", "empty.jsonl", "--adapter", "lora", "--out", "refused"]):
            self.assert_refused(run(*command, cwd=self.root), 2, "empty.jsonl:2: the text is empty")
        self.assertFalse((self.root / "refused").exists())
        # A perplexity reads prompt and target as one text, which has tokens.
        told = self.assert_done(run("eval", "--model", "unopened", "--task", "./task.yaml", "--data", "empty.jsonl", "--json", "-", cwd=self.root)).stdout
        self.assertEqual(json.loads(told)["rows"], 2)

    def test_max_length_of_rows_is_a_flag(self):
        whole, cut = self.lines("--show-prompt"), self.lines("--max-length", 3)
        self.assertEqual([line.get("cut") for line in whole], [None] * 4)
        self.assertTrue(any("cut" in line for line in cut))
        self.assert_refused(run("generate", "--model", "gpt2", "--data", "rows.jsonl", "--task", "./task.yaml", "--max-length", 0, cwd=self.root), 2, "--max-length")

    def test_stop_text_ends_an_answer(self):
        whole = self.lines("--no-repeat-ngram", 1)[0]
        words = whole["output"].split()
        self.assertGreater(len(words), 1)
        cut = self.lines("--no-repeat-ngram", 1, "--stop", words[1])[0]
        self.assertEqual(cut["output"].split(), words[:1])
        self.assertEqual(cut["finish"], "stop")

    def test_end_ids_end_an_answer(self):
        for way in ([], ["--beams", 2]):
            whole = self.lines("--no-repeat-ngram", 1, *way)[0]
            end = whole["tokens"][1]
            cut = self.lines("--no-repeat-ngram", 1, "--end-ids", end, 4, *way)[0]
            if not way:
                self.assertEqual(cut["tokens"], whole["tokens"][:2])
            self.assertEqual([token for token in cut["tokens"] if token in (end, 4)], cut["tokens"][-1:])
            self.assertEqual(cut["finish"], "end")

    def test_stop_text_ends_beams(self):
        """A beam ends where the text is complete: nothing behind it takes part in its score."""
        args = ["--no-repeat-ngram", 1, "--beams", 2, "--length-penalty", 0]
        word = self.lines(*args)[0]["output"].split()[1]
        cut = self.lines(*args, "--stop", word)[0]
        self.assertEqual(cut["finish"], "stop")
        self.assertNotIn(word, cut["output"])
        self.assertEqual(len(cut["tokens"]), len(cut["output"].split()) + 1, "a word a token, and that of the stop text")

    def test_ngrams_of_the_prompt_may_come_again(self):
        """The prompt has every word that the model would write first: only --no-repeat-ngram-in new lets it."""
        first = self.lines()[0]["output"].split()[0]
        def answer(*args):
            return json.loads(self.write("--prompt", f"fine great {first}", "--max-new-tokens", 4, "--json", "--no-repeat-ngram", 1, *args).stdout)
        whole, new = answer(), answer("--no-repeat-ngram-in", "new")
        self.assertNotIn(first, whole["output"].split())
        self.assertEqual(len(set(new["tokens"])), len(new["tokens"]))
        plain = json.loads(self.write("--prompt", f"fine great {first}", "--max-new-tokens", 1, "--json").stdout)
        self.assertEqual(new["tokens"][0], plain["tokens"][0], "the first new token repeats nothing")

    def test_length_fits_unless_asked_for(self):
        positions = json.loads((self.root / "gpt2" / "config.json").read_text())["n_positions"]
        one = json.loads(self.write("--prompt", "fine great", "--min-new-tokens", 1, "--json").stdout)
        self.assertLessEqual(len(one["tokens"]), positions - 1)
        self.assert_refused(run("generate", "--model", "gpt2", "--prompt", "fine great", "--max-new-tokens", 500, cwd=self.root), 2, "positions", "500 new tokens are asked for")

    def test_a_text_has_the_room_behind_its_own_prompt(self):
        """Where no length is given, a prompt that fills the model's positions takes nothing from its neighbour."""
        positions = json.loads((self.root / "gpt2" / "config.json").read_text())["n_positions"]
        texts = ["fine great", " ".join(["fine"] * (positions - 2))]
        answers = []
        for n, name in enumerate(("one", "two"), start=1):
            rows = self.dir / f"{name}.jsonl"
            rows.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts[:n]))
            answers.append([json.loads(line)["tokens"] for line in self.write("--data", rows, "--task", "./task.yaml", "--no-repeat-ngram", 2).stdout.splitlines()])
        self.assertEqual(answers[0][0], answers[1][0])
        self.assertGreater(len(answers[0][0]), 1)
        self.assertEqual(len(answers[1][1]), 1, "the longest prompt has room for one token")

    def test_a_row_without_room_is_told_before_anything_is_answered(self):
        positions = json.loads((self.root / "gpt2" / "config.json").read_text())["n_positions"]
        data, out = self.dir / "x.jsonl", self.dir / "answers.jsonl"
        texts = ["fine great", " ".join(["fine"] * (positions - 3)), "happy"]
        data.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
        common = ("generate", "--model", "gpt2", "--task", "./task.yaml", "--data", data, "--out", out, "--batch", 1, "--threads", 1, "--max-new-tokens", 5)
        told = f"x.jsonl:2: {positions - 1} of the {positions} positions of this model are taken before a token is written, and 5 new tokens are asked for: ask for at most 2"
        self.assert_refused(run(*common, cwd=self.root), 2, told)
        self.assertEqual(list(self.dir.iterdir()), [data])
        done = self.assert_done(run(*common, "--on-error", "skip", "--skipped", self.dir / "s.jsonl", cwd=self.root))
        self.assertEqual([json.loads(line)["id"] for line in out.read_text().splitlines()], [0, 2])
        self.assertIn(told, done.stderr)
        self.assertEqual([json.loads(line)["id"] for line in (self.dir / "s.jsonl").read_text().splitlines()], [1])

    def test_what_a_command_cannot_do_is_told_before_what_the_rows_lack(self):
        (self.root / "bare.jsonl").write_text('{"other": 1}\n')
        (self.root / "choice.yaml").write_text("name: pick\nkind: choice\nprompt: text\noptions: [kind, bad]\ntarget: label\n")
        for args, part in [
            (["predict", "--task", "./task.yaml", "--out", "never.jsonl"], 'task "go-on" is answered by a text: write it with graft generate --data'),
            (["predict", "--task", "./choice.yaml", "--out", "never.jsonl", "--records", "never"], "--records: only for tasks with a head"),
            (["eval", "--task", "./choice.yaml", "--records", "never"], "--records: not kept where options share a prompt"),
            (["eval", "--task", "text:bad,good"], "is answered by a trained head, and the model's folder brings none"),
        ]:
            self.assert_refused(run(*args, "--model", "gpt2", "--data", "bare.jsonl", cwd=self.root), 2, part)
        self.assertFalse(list(self.root.glob("never*")))

    def test_an_adapter_trained_on_texts_goes_out_and_comes_back(self):
        settings = ["max_steps=2", "batch_size=2", "learning_rate=0.05"]
        self.assert_done(run("train", "--model", "gpt2", "--task", "./task.yaml", "--data", "rows.jsonl", "--adapter", "lora", "--out", "trained", "--threads", 1, "--quiet",
                             *[part for each in settings for part in ("--set", each)], cwd=self.root))
        self.assert_done(run("export", "--to", "peft", "--model", "gpt2", "--adapter", "trained/adapter", "--out", "peft", cwd=self.root))
        self.assert_done(run("import", "--from", "peft", "peft", "--model", "gpt2", "--task", "./task.yaml", "--out", "again", cwd=self.root))
        config = json.loads((self.root / "peft/adapter_config.json").read_text())
        (self.root / "peft/adapter_config.json").write_text(json.dumps({**config, "peft_version": "1\x1b[31m"}))
        told = self.assert_done(run("import", "--from", "peft", "peft", "--model", "gpt2", "--task", "./task.yaml", "--out", "steering", cwd=self.root)).stdout
        self.assertIn("peft 1\\x1b[31m", told)
        self.assertNotIn("\x1b", told)
        scores = [self.assert_done(run("eval", "--model", "gpt2", "--adapter", adapter, "--data", "rows.jsonl", "--threads", 1, "--quiet", cwd=self.root)).stdout.split("seconds")[0]
                  for adapter in ("trained/adapter", "again")]
        self.assertRegex(scores[0], "perplexity")
        self.assertEqual(scores[0], scores[1])
        refused = run("import", "--from", "peft", "peft", "--model", "gpt2", "--task", "sst2", "--out", "labels", cwd=self.root)
        self.assert_refused(refused, 2, "the adapter in 'peft' has no head, so no labels")

    def test_refusals(self):
        for args, parts in [
            (["--model", "gpt2"], ["give one of --prompt TEXT and --data FILE"]),
            (["--model", "gpt2", "--prompt", "fine", "--data", "rows.jsonl"], ["give one of --prompt TEXT and --data FILE"]),
            (["--model", "gpt2", "--data", "rows.jsonl"], ["--data: which column is the prompt? Give --task"]),
            (["--model", "gpt2", "--data", "rows.jsonl", "--task", "sst2"], ["expected a task of kind: generation"]),
            (["--model", "gpt2", "--data", "rows.jsonl", "--task", "./task.yaml", "--out", "never.tsv"], ["TSV cannot hold a tab or a line break", "jsonl, json or csv"]),
            (["--model", "gpt2", "--prompt", "fine", "--format", "tsv"], ["TSV cannot hold a tab or a line break"]),
            (["--model", "gpt2", "--data", "rows.jsonl", "--task", "./task.yaml", "--json"], ["--json: shows the answer to --prompt", "leave it out"]),
            (["--model", "gpt2", "--prompt", "fine", "--json", "--format", "csv"], ["--json: shows a JSON line, and --out or --format asks for csv"]),
            (["--model", "bert", "--prompt", "fine"], ["an encoder, and writes no text; take a decoder"]),
            (["--model", "gpt2", "--prompt", "fine", "--top-k", 3], ["set a temperature"]),
            (["--model", "gpt2", "--prompt", "fine", "--temperature", -1], ["--temperature: expected 0 to 1e+06, found -1"]),
            (["--model", "gpt2", "--prompt", "fine", "--no-repeat-ngram-in", "new"], ["no_repeat_ngram_in says whose n-grams no_repeat_ngram counts"]),
            (["--model", "gpt2", "--prompt", "fine", "--end-ids", 4000], ["end_ids: expected tokens below the vocabulary's", "found 4000"]),
            (["--model", "gpt2", "--prompt", "fine", "--chat", "model"], ["has no chat template"]),
            (["--model", "gpt2", "--prompt", "fine", "--stop", ""], ["--stop: expected a text, found an empty one"]),
        ]:
            self.assert_refused(run("generate", *args, cwd=self.root), 2, *parts)


if __name__ == "__main__":
    support.main()
