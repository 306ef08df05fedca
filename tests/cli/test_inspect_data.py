"""graft inspect data for every kind of task: which tokens the loss counts, options, chats, clozes, colour, JSON."""

import json
import os
import pty
import shutil
import subprocess

import support
from support import run
from test_generate import CHATML

TRUNKS = support.SOURCE / "tests" / "golden" / "trunks"
GGUF = support.SOURCE / "tests" / "golden" / "gguf"


def letters(specials, size=40):
    """A byte-level tokenizer of single letters, with `specials` first."""
    tokens = [*specials, "\u0120", "\u010a", *"abcdefghijklmnopqrstuvwxyz"][:size]
    return {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": support._added(specials), "normalizer": None,
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}, "post_processor": None,
        "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
        "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None, "end_of_word_suffix": None,
                  "fuse_unk": False, "byte_fallback": False, "ignore_merges": False, "vocab": {t: i for i, t in enumerate(tokens)}, "merges": []},
    }


class InspectData(support.Case):
    def make_trunk(self, name, specials=("<s>", "<pad>", "</s>")):
        folder = self.dir / name
        folder.mkdir()
        for file in ("config.json", "model.safetensors"):
            shutil.copy(TRUNKS / name / file, folder / file)
        (folder / "tokenizer.json").write_text(json.dumps(letters(list(specials))), encoding="utf-8")
        return folder

    def write(self, name, text):
        (self.dir / name).write_text(text, encoding="utf-8")
        return self.dir / name

    def inspect(self, model, task, data, *more):
        return self.assert_done(run("inspect", "data", "--model", model, "--task", task, "--data", data, *more)).stdout

    def generation(self):
        task = self.write("copy.yaml", "name: copy\nkind: generation\nprompt: a\ntarget: ' {b}'\nmetrics: [exact_match]\n")
        data = self.write("copy.jsonl", '{"a": "ab", "b": "c"}\n{"a": "b", "b": "cd"}\n{"a": "abc", "b": "c"}\n{"a": "a", "b": "c"}\n')
        return task, data

    def test_targets_of_a_decoder(self):
        told = self.inspect(self.make_trunk("gpt2-tiny"), *self.generation())
        self.assertIn("row 0, line 1, with a target, 5 tokens, 3 in the loss\n  a b [\u0120 c </s>]\n", told)
        self.assertEqual(told.count("row "), 3, "three rows unless asked otherwise")
        self.assertIn("4 rows, 20 tokens, 13 in the loss;", told)
        self.assertIn("cut to max_length: 0", told)
        cut = self.inspect(self.dir / "gpt2-tiny", *self.generation(), "--max-length", 4)
        self.assertIn("cut to max_length: 3\n3 of 4 rows cut to 4 tokens: ", cut)
        self.assertRegex(cut, r"copy.jsonl:1 by 1, \S*copy.jsonl:2 by 1, \S*copy.jsonl:3 by 2\n")
        self.assertIn("row 2, line 3, with a target, 4 tokens, 1 in the loss, cut by 2\n", cut)
        row = json.loads(self.inspect(self.dir / "gpt2-tiny", *self.generation(), "--max-length", 4, "--rows", 1, "--json"))
        self.assertEqual((row["cut"], len(row["ids"])), (1, 4))

    def test_targets_beside_an_encoder(self):
        model = self.make_trunk("t5-tiny")
        told = self.inspect(model, *self.generation(), "--rows", 1)
        self.assertIn("row 0, line 1, with a target, 2 tokens, 2 in the loss\n  a b\n  to be written: [\u0120 c]\n", told)
        row = json.loads(self.inspect(model, *self.generation(), "--rows", 1, "--json"))
        self.assertEqual(row["target_tokens"], ["\u0120", "c"])
        self.assertEqual(row["is_target"], [False, False])

    def test_json(self):
        rows = [json.loads(line) for line in self.inspect(self.make_trunk("gpt2-tiny"), *self.generation(), "--json", "--rows", 9).splitlines()]
        self.assertEqual(len(rows), 4)
        self.assertEqual(rows[0], {"id": 0, "ids": [5, 6, 3, 7, 2], "tokens": ["a", "b", "\u0120", "c", "</s>"], "is_target": [False, False, True, True, True]})

    def test_rows_without_a_target(self):
        task, _ = self.generation()
        data = self.write("prompts.jsonl", '{"a": "ab", "b": "c"}\n{"a": "b"}\n')
        told = self.inspect(self.make_trunk("gpt2-tiny"), task, data)
        self.assertIn("row 1, line 2, no target, 1 tokens, 0 in the loss\n  b\n", told)

    def test_options(self):
        data = self.write("pick.jsonl", '{"input": "ab", "options": [" c", " de"], "target": 1, "template": "x"}\n')
        model = self.make_trunk("gpt2-tiny")
        told = self.inspect(model, "choice", data)
        self.assertIn("row 0, line 1, option 1, 6 tokens, 4 in the loss\n  a b [\u0120 d e </s>]\n    option 0: [\u0120 c </s>]\n  * option 1: [\u0120 d e </s>]\n", told)
        row = json.loads(self.inspect(model, "choice", data, "--json"))
        self.assertEqual((row["options"], row["label"]), ([[3, 7, 2], [3, 8, 9, 2]], 1))

    def test_chat(self):
        model = self.make_trunk("gpt2-tiny", ("<s>", "<|im_start|>", "</s>", "<|im_end|>"))
        task = self.write("chat.yaml", "name: chat\nkind: generation\nmessages: messages\nchat: chatml\nmetrics: [exact_match]\n")
        data = self.write("chat.jsonl", '{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}\n')
        told = self.inspect(model, task, data)
        self.assertIn("<|im_start|> u s e r \u010a a <|im_end|> \u010a <|im_start|> a s s i s t a n t \u010a [b <|im_end|>]", told)

    def test_a_chat_of_any_form_has_its_ready_task(self):
        """What is proposed reads the rows as the ready task does that is named beside it."""
        model = self.make_trunk("gpt2-tiny", ("<s>", "<|im_start|>", "</s>", "<|im_end|>"))
        (model / "tokenizer_config.json").write_text(json.dumps({"chat_template": CHATML}), encoding="utf-8")
        user, assistant = {"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}
        said = [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]
        for ready, row in (("sharegpt", {"title": "t", "source": "s", "conversations": said}), ("sharegpt", {"conversations": said, "system": "x"}),
                           ("prompt-completion", {"prompt": [user], "completion": [assistant]}), ("instructions", {"messages": [user, assistant]})):
            with self.subTest(row=row):
                data = self.write("rows.jsonl", (json.dumps(row) + "\n") * 4)
                told = self.assert_done(run("inspect", "data", data)).stdout
                self.assertIn(f"# the ready task {ready} fits, too: --task {ready}\n", told)
                own, theirs = (self.inspect(model, task, data, "--json") for task in (self.write("own.yaml", told), ready))
                self.assertEqual(own, theirs)
                self.assertEqual("x" in json.loads(own.splitlines()[0])["tokens"], "system" in row)

    def test_cloze(self):
        model = support.make_model(self.dir / "bert", "bert-tiny")
        task = self.write("mood.yaml", "name: mood\ntext: text\nlabels: [bad, good]\nlabel: label\n"
                          "cloze: {template: '{text} it was {mask}', words: {bad: sad, good: great}}\nmetrics: [accuracy]\n")
        told = self.inspect(model, task, support.write_tsv(self.dir / "rows.tsv", [("the film", "good")]))
        self.assertIn("the film it was [[MASK]] [SEP]", told)
        self.assertIn("words at the mask: bad sad, good great", told)
        self.assertIn("\n1 row, ", told)
        self.assertIn(" 1 row\n", told)
        self.assertIn("among the words of the labels", told)

    def test_tokens_of_a_gguf_file(self):
        told = self.assert_done(run("inspect", "tokens", "--model", GGUF / "tokens-smollm.gguf", "--file", self.write("lines.txt", "ab\n"), "--json")).stdout
        self.assertEqual(json.loads(told)["offsets"][-1][1], 2)

    def terminal(self, **variables):
        """What the command writes to a terminal."""
        args = support.command("inspect", "data", "--model", self.dir / "gpt2-tiny", "--task", self.dir / "copy.yaml", "--data", self.dir / "copy.jsonl", "--rows", 1)
        ours, theirs = pty.openpty()
        env = {**support.environment(), "TERM": "xterm", **variables}
        with subprocess.Popen(args, stdin=subprocess.DEVNULL, stdout=theirs, stderr=subprocess.PIPE, env=env) as process:
            os.close(theirs)
            out = b""
            try:
                while chunk := os.read(ours, 65536):
                    out += chunk
            except OSError:   # the other side is closed
                pass
            process.wait(timeout=60)
        os.close(ours)
        self.assertEqual(process.returncode, 0)
        return out.decode()

    def test_colour_on_a_terminal_only(self):
        self.make_trunk("gpt2-tiny")
        self.generation()
        self.assertIn(" \033[90ma b\033[0m \033[32m\u0120 c </s>\033[0m", self.terminal())
        for variables in ({"NO_COLOR": "1"}, {"TERM": "dumb"}):
            plain = self.terminal(**variables)
            self.assertNotIn("\033[", plain)
            self.assertIn("a b [\u0120 c </s>]", plain)
        self.assertIn("\033[32m", self.terminal(NO_COLOR=""))


if __name__ == "__main__":
    support.main()
