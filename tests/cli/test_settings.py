"""--set in both of its forms, names of other tools, sites that are not there, and what inspect lists."""

import shutil

import support
from support import run


class Settings(support.SharedCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        support.make_model(cls.root / "model")
        support.write_tsv(cls.root / "train.tsv", support.rows(20, 1))

    def train(self, *more, out="run", adapter=("--adapter", "lora")):
        self.addCleanup(shutil.rmtree, self.root / out, ignore_errors=True)
        return run("train", *more, "--model", "model", "--task", "text:bad,good", "--data", "train.tsv", *adapter, "--out", out, "--threads", 1, cwd=self.root)

    def refused(self, setting, *parts):
        with self.subTest(setting=setting):
            self.assert_refused(self.train("--set", setting), 2, *parts)

    def test_both_forms(self):
        self.assert_done(self.train("--set", "max_steps=1", "rank=3", "seed=5", "--quiet"))
        one = (self.root / "run/run.yaml").read_text()
        shutil.rmtree(self.root / "run")
        self.assert_done(self.train("--set", "max_steps=1", "--set", "rank=3", "--set", "seed=5", "--quiet"))
        self.assertEqual((self.root / "run/run.yaml").read_text(), one)
        self.assertIn("rank: 3", one)
        self.assert_done(run("plan", "--model", "model", "--adapter", "lora", "--no-timing", "--set", "rank=3", "alpha=8", cwd=self.root))

    def test_a_run_file_behind_settings(self):
        (self.root / "own.yaml").write_text("max_steps: 1\nadapter: lora\n")
        for order in (("--set", "seed=5", "rank=3", "own.yaml"), ("own.yaml", "--set", "seed=5", "rank=3"), ("--set", "seed=5", "own.yaml", "rank=3")):
            with self.subTest(order=order):
                self.assert_done(self.train(*order, "--quiet", adapter=()))
                text = (self.root / "run/run.yaml").read_text()
                for part in ("seed: 5", "rank: 3", "max_steps: 1"):
                    self.assertIn(part, text)
                shutil.rmtree(self.root / "run")

    def test_words_that_are_no_settings(self):
        self.assert_refused(self.train("--set", "epochs=1", "rank"), 2, '--set "rank": expected key=value')
        self.assert_refused(self.train("--set", "epochs", "5"), 2, '--set "epochs": expected key=value')
        self.assert_refused(self.train("own.yaml", "--set", "epochs=1", "other.yaml"), 2, '--set "other.yaml": expected key=value')

    def test_names_of_other_tools(self):
        for foreign, own in (("lr", "learning_rate"), ("per_device_train_batch_size", "batch_size"), ("num_train_epochs", "epochs"), ("warmup_ratio", "warmup"),
                             ("warmup_steps", "warmup"), ("max_seq_length", "max_length"), ("gradient_accumulation_steps", "accumulate"), ("lr_scheduler_type", "schedule"),
                             ("max_grad_norm", "clip"), ("bf16", "precision"), ("gradient_checkpointing", "save_memory"), ("eval_steps", "evaluate_every"),
                             ("max_train_samples", "data.rows"), ("num_beams", "generation.beams"), ("load_best_model_at_end", "keep_best")):
            self.refused(f"{foreign}=1", f"--set {foreign}=1", f"nor is it a setting of the run (did you mean '{own}'?)")
        for foreign, own in (("r", "rank"), ("lora_r", "rank"), ("lora_alpha", "alpha"), ("lora_dropout", "adapter.dropout"), ("adapter.lora_dropout", "adapter.dropout"), ("target_modules", "sites"), ("layers_to_transform", "layers"),
                             ("use_rslora", "rslora"), ("init_lora_weights", "init"), ("adapter.lora_alpha", "alpha"), ("adapter.r", "rank")):
            self.refused(f"{foreign}=1", f"no edit of this adapter has the option \"{foreign.removeprefix('adapter.')}\" (did you mean '{own}'?)")
        self.refused("hidden_dropout_prob=0.2", "nor is it a setting of the run (did you mean 'dropout'?)")
        for switch, preset in (("use_dora=true", "dora"), ("bias=all", "bitfit")):
            self.refused(switch, f"no edit of this adapter has the option \"{switch.split('=')[0]}\" (did you mean '--adapter {preset}'?)")

    def test_settings_without_their_flag(self):
        self.assert_refused(self.train("lora_dropout=0.1"), 2, "'lora_dropout=0.1': no such file; a setting stands behind --set (did you mean '--set lora_dropout=0.1'?)")
        self.assert_refused(self.train("epochs=1", "rank=2"), 2, "train: unknown word 'rank=2' (did you mean '--set rank=2'?)")
        self.assert_refused(run("train", "--resume", "run", "epochs=5", cwd=self.root), 2, "did you mean '--set epochs=5'?")
        (self.root / "a=b.yaml").write_text("max_steps: 1\n")
        self.assert_done(self.train("a=b.yaml", "--quiet"))

    def test_options_of_other_tools(self):
        for given, meant in ((["--epochs", 3], "--set epochs=3"), (["--batch-size=8"], "--set batch_size=8"), (["--lr", "1e-3"], "--set learning_rate=1e-3"), (["--seed", 1], "--set seed=1"),
                             (["--rank", 4], "--set rank=4"), (["--lora_r", 4], "--set rank=4"), (["--held-out", 0.2], "--set data.held_out=0.2"), (["--bf16", "--quiet"], "--set precision=..."),
                             (["--output_dir", "x"], "--out"), (["--dev", "x"], "--eval"), (["--validation_file", "x"], "--eval"), (["--lora_dropout", 0.1], "--set adapter.dropout=0.1"), (["--modle", "x"], "--model")):
            with self.subTest(given=given):
                self.assert_refused(self.train(*given), 2, f"train: unknown option '{given[0]}' (did you mean '{meant}'?)")
        self.refused("held_out=0.2", "nor is it a setting of the run (did you mean 'data.held_out'?)")
        self.assert_refused(self.train(adapter=("--adapter", "Lora")), 2, 'unknown adapter "Lora" (did you mean \'lora\'?)')

    def test_names_of_other_tools_in_files(self):
        (self.root / "own.yaml").write_text("lr: 1e-3\nnum_train_epochs: 2\nadapter: {edits: [{lora: {r: 8, lora_alpha: 16}}]}\n")
        done = self.train("own.yaml", adapter=())
        self.assert_refused(done, 2, "/edits/0/lora/r: unknown key (did you mean 'rank'?)", "/edits/0/lora/lora_alpha: unknown key (did you mean 'alpha'?)")
        (self.root / "own.yaml").write_text("lr: 1e-3\nnum_train_epochs: 2\nadapter: lora\n")
        self.assert_refused(self.train("own.yaml", adapter=()), 2, "/lr: unknown key (did you mean 'learning_rate'?)", "/num_train_epochs: unknown key (did you mean 'epochs'?)")

    def test_a_name_that_two_have_is_told(self):
        done = self.assert_done(self.train("--set", "dropout=0.1", "max_steps=1"))
        self.assertIn("note: --set dropout=0.1 is a setting of the run (doc/run_folder.md); the option of that name of an edit is adapter.0.lora.dropout\n", done.stderr)
        for more in (["--set", "adapter.dropout=0.1", "max_steps=1"], ["--set", "dropout=0.1", "max_steps=1", "--quiet"]):
            shutil.rmtree(self.root / "run")
            self.assertNotIn("note:", self.assert_done(self.train(*more)).stderr)
        shutil.rmtree(self.root / "run")
        self.assertNotIn("note:", self.assert_done(self.train("--set", "dropout=0.1", "max_steps=1", adapter=("--adapter", "bitfit"))).stderr)
        self.assert_refused(run("plan", "--model", "model", "--adapter", "lora", "--set", "dropout=0.1", cwd=self.root), 2, "adapter.0.lora.dropout")

    def test_sites_that_are_not_there(self):
        for written, near in (("q", "'attn.q'"), ("[q, v]", "'attn.q'"), ("q_proj", "'attn.q'"), ("value", "'attn.v'"), ("attn.qq", "'attn.q'"), ("fc1", "'ffn.up'"),
                              ("down_proj", "'ffn.down'"), ("c_attn", "'attn.[qkv]'"), ("ffn", "'ffn.up'"), ("norm", "'attn.norm' or 'ffn.norm'"), ("up", "'ffn.up'"),
                              ("self_attn.q_proj", "'attn.q'?"), ("mlp.down_proj", "'ffn.down'?"), ("attn.c_attn", "'attn.[qkv]'?"), ("SelfAttention.q", "'attn.q'?"), ("Wqkv", "'attn.[qkv]'?"),
                              ("Wi", "'ffn.up'?"), ("Wo", "'attn.o' or 'ffn.down'?"), ("c_proj", "'attn.o' or 'ffn.down'?"), ("all-linear", "'attn.[qkvo]', 'ffn.up' or 'ffn.down'?")):
            with self.subTest(sites=written):
                done = self.train("--set", f"sites={written}")
                self.assert_refused(done, 2, "matches no site of this model (did you mean " + near, "; here are embed.word, embed, attn.q, attn.k", "graft inspect model")
                self.assertEqual(done.stderr.count("matches no site"), 1)
        self.refused("sites=attn.q,attn.v", 'sites: several are written as a list, such as [attn.q, attn.v], found "attn.q,attn.v"')
        self.assert_refused(self.train("--set", "sites=zzzzzz"), 2, 'site pattern "zzzzzz" matches no site of this model; here are')

    def end_of(self, *settings):
        """The first step's loss and the tensors after three."""
        self.assert_done(self.train("--quiet", "--set", "max_steps=3", "batch_size=8", "learning_rate=0.01", "warmup=0", *settings))
        run_dir = self.root / "run"
        losses = [event["loss"] for event in support.log_events(run_dir) if event["event"] == "step"]
        tensors = support.read_safetensors(run_dir / "adapter" / "adapter.safetensors")
        rows = support.log_events(run_dir)[0]["train_tokens"]
        shutil.rmtree(run_dir)
        return losses, tensors, rows

    def test_seeds_of_single_uses(self):
        every = ["seeds.initial=1", "seeds.order=1", "seeds.steps=1"]
        base = self.end_of("dropout=0.2", "seed=1")
        self.assertEqual(self.end_of("dropout=0.2", "seed=9", *every), base)   # nothing else is drawn by the run's
        for use in every:
            with self.subTest(changed=use):
                other = self.end_of("dropout=0.2", "seed=1", use.replace("=1", "=2"))
                self.assertNotEqual(other[0][0], base[0][0])
                self.assertNotEqual(other[1], base[1])
        still = self.end_of("dropout=0", "seed=1")
        self.assertEqual(self.end_of("dropout=0", "seed=1", "seeds.steps=2"), still)   # a step without dropout draws nothing
        first = self.end_of("seed=1", "data.rows=10")
        drawn = [self.end_of("seed=1", "data.rows=10", f"seeds.rows={k}") for k in (1, 2, 1)]
        self.assertEqual(drawn[0], drawn[2])
        self.assertEqual(len({first[2], drawn[0][2], drawn[1][2]}), 3)
        self.refused("seeds.rows=1", "seeds.rows: found 1, and no rows are drawn by it", "data.per_label")
        self.refused("seeds.routes=1", "seeds", "routes")

    def test_what_inspect_lists(self):
        told = self.assert_done(run("inspect", "model", "model", cwd=self.root)).stdout
        for part in ("model: bert, width 32, 2 layers, 4 heads of 8, FFN 64", " parameters in ", "enc.0.attn.q       linear             32       32", "attn.[qv]"):
            self.assertIn(part, told)
        self.assertEqual(told, self.assert_done(run("inspect", "model", "--model", "model", cwd=self.root)).stdout)
        presets = self.assert_done(run("inspect", "presets")).stdout.splitlines()
        files = (support.SOURCE / "presets").glob("*.yaml")
        self.assertEqual([line.split()[0] for line in presets], sorted(file.stem for file in files))
        self.assertTrue(all(len(line.split(maxsplit=1)[1]) > 20 for line in presets))
        tasks = self.assert_done(run("inspect", "tasks")).stdout.splitlines()
        self.assertEqual([line.split()[0] for line in tasks], sorted(file.stem for file in (support.SOURCE / "tasks").glob("*.yaml")))
        self.assertTrue(all(len(line.split(maxsplit=1)) == 2 for line in tasks), "every task says what it is")
        for file in (support.SOURCE / "tasks").glob("*.yaml"):
            self.assertIn(f"\n# Use:     --task {file.stem};", file.read_text())


if __name__ == "__main__":
    support.main()
