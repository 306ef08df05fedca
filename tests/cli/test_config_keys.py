"""A config.json with a key that graft does not know: refused with the way out, passed over by name, remembered by the adapter."""

import json

import support
from support import run


class IgnoredKeys(support.Case):
    KEY = ["--ignore-config-key", "some_new_key"]

    def setUp(self):
        super().setUp()
        self.model = support.make_model(self.dir / "model")
        config = json.loads((self.model / "config.json").read_text())
        (self.model / "config.json").write_text(json.dumps({**config, "some_new_key": {"a": 1}}))
        (self.dir / "data").mkdir()
        support.write_tsv(self.dir / "data/train.tsv", support.rows(24, 1))
        support.write_tsv(self.dir / "data/dev.tsv", support.rows(8, 2))
        self.rows = self.dir / "data/dev.tsv"
        self.adapter = self.dir / "run/adapter"

    def train(self, *more, out="run"):
        return run("train", "--model", self.model, "--task", "text:bad,good", "--data", self.dir / "data", "--adapter", "lora", "--out",
                   self.dir / out, "--set", "max_steps=2", "--threads", 1, "--quiet", *more)

    def test_the_adapter_remembers_what_was_passed_over(self):
        refused = self.train()
        self.assertEqual(refused.returncode, 2)
        self.assertIn("/some_new_key: unknown key; if the model computes the same without it, load it with --ignore-config-key some_new_key",
                      refused.stderr)
        self.assert_done(self.train(*self.KEY))
        provenance = json.loads((self.adapter / "adapter.json").read_text())["provenance"]
        self.assertEqual(provenance["ignored_config_keys"], ["some_new_key"])
        self.assertIn("some_new_key", (self.dir / "run/run.yaml").read_text())
        for command in (["eval", "--data", self.rows, "--quiet"], ["predict", "--data", self.rows, "--out", self.dir / "out.jsonl", "--quiet"],
                        ["trace", "--text", "fine", "--out", self.dir / "trace.safetensors"], ["merge", "--out", self.dir / "merged"],
                        ["export", "--to", "peft", "--out", self.dir / "peft"]):
            self.assert_done(run(command[0], "--model", self.model, "--adapter", self.adapter, *command[1:]))
        self.assert_done(run("average", self.adapter, self.adapter, "--out", self.dir / "averaged"))
        self.assertEqual(json.loads((self.dir / "averaged/adapter.json").read_text())["provenance"]["ignored_config_keys"], ["some_new_key"])
        self.assertIn("passed over: some_new_key", run("inspect", "adapter", self.adapter).stdout)

    def test_every_command_has_the_flag(self):
        self.assert_done(self.train(*self.KEY))
        self.assert_done(run("train", self.dir / "run/run.yaml", "--out", self.dir / "again", "--threads", 1, "--quiet"))
        self.assert_done(run("export", "--to", "peft", "--model", self.model, "--adapter", self.adapter, "--out", self.dir / "peft"))
        for command in (["plan", "--adapter", "lora", "--no-timing"], ["inspect", "model"],
                        ["inspect", "data", "--task", "text:bad,good", "--data", self.rows],
                        ["trace", "--text", "fine", "--out", self.dir / "trace.safetensors"],
                        ["import", "--from", "peft", self.dir / "peft", "--task", "text:bad,good", "--out", self.dir / "imported"]):
            self.assertEqual(run(*command, "--model", self.model).returncode, 2, command)
            self.assert_done(run(*command, "--model", self.model, *self.KEY))

    def test_only_unknown_keys_of_the_file_are_passed_over(self):
        for name, words in (("hidden_size", "that graft does not know can be ignored"), ("some_nwe_key", "did you mean 'some_new_key'?")):
            refused = self.train("--ignore-config-key", name)
            self.assertEqual(refused.returncode, 2)
            self.assertIn(f"--ignore-config-key {name}: only a key of", refused.stderr)
            self.assertIn(words, refused.stderr)


if __name__ == "__main__":
    support.main()
