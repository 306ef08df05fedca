"""graft report --tensorboard and --peft-results: read back by TensorBoard's own library where it is installed, and by what PEFT's reader asks for."""

import json
import subprocess
import unittest

import support
from support import run

PEERS = support.SOURCE / ".venv-peers" / "bin" / "python"
HAS_TENSORBOARD = PEERS.exists() and subprocess.run([PEERS, "-c", "import tensorboard"], capture_output=True).returncode == 0

READ = """\
import json, sys
from tensorboard.backend.event_processing import event_accumulator
board = event_accumulator.EventAccumulator(sys.argv[1], size_guidance={event_accumulator.SCALARS: 0})
board.Reload()
print(json.dumps({"version": board.file_version, "scalars": {tag: [[e.step, e.value] for e in board.Scalars(tag)] for tag in board.Tags()["scalars"]}}))
"""

STUDY = """\
study: moods
model: {root}/bert-tiny
methods: {{lora: lora, head: head}}
tasks: {{mood: {{task: "text:bad,good", data: {root}/data}}}}
set: {{max_steps: 6, batch_size: 8, evaluate_every: 2 steps}}
grid: {{seed: [1, 2]}}
"""

# What method_comparison/processing.py of PEFT takes from a result, and as what.
COMMON = {"accelerator_memory_reserved_avg": int, "accelerator_memory_max": int, "accelerator_memory_reserved_99th": int, "train_time": float, "file_size": int,
          "num_trainable_params": int}


class Exports(support.SharedCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        support.make_model(cls.root / "bert-tiny")
        (cls.root / "data").mkdir()
        support.write_tsv(cls.root / "data" / "train.tsv", support.rows(40, 1))
        support.write_tsv(cls.root / "data" / "dev.tsv", support.rows(20, 2))
        (cls.root / "study.yaml").write_text(STUDY.format(root=cls.root))
        for args in (["sweep", cls.root / "study.yaml", "--out", cls.root / "out", "--threads", 1, "--quiet"],
                     ["report", cls.root / "out", "--tensorboard", cls.root / "board", "--peft-results", cls.root / "peft"]):
            done = run(*args)
            assert done.returncode == 0, done.stderr

    def logs(self, member):
        folder = next(path for path in (self.root / "out/runs").iterdir() if path.name == member)
        return support.log_events(folder)

    @unittest.skipUnless(HAS_TENSORBOARD, "needs tensorboard (tools/setup.sh peers)")
    def test_tensorboard_reads_the_curves(self):
        folders = sorted(path.name for path in (self.root / "board").iterdir())
        self.assertEqual(folders, ["head__mood__seed_1", "head__mood__seed_2", "lora__mood__seed_1", "lora__mood__seed_2"])
        for name in folders:
            done = subprocess.run([PEERS, "-c", READ, self.root / "board" / name], capture_output=True, text=True, check=True)
            board = json.loads(done.stdout)
            self.assertEqual(board["version"], 2.0)
            events = self.logs(name.replace("__", "_").replace("seed_", "seed-"))
            for tag, kind, key in (("train/loss", "step", "loss"), ("train/learning_rate", "step", "learning_rate"), ("eval/accuracy", "evaluate", "accuracy")):
                known = [(event["step"], event[key]) for event in events if event["event"] == kind]
                self.assertEqual([step for step, _ in board["scalars"][tag]], [step for step, _ in known])
                for (_, a), (_, b) in zip(board["scalars"][tag], known):
                    self.assertAlmostEqual(a, b, places=6)

    def test_peft_results_have_what_its_reader_takes(self):
        files = sorted((self.root / "peft").iterdir())
        self.assertEqual(len(files), 4)
        names = set()
        for file in files:
            result = json.loads(file.read_text())
            info, train, meta = result["run_info"], result["train_info"], result["meta_info"]
            for key, kind in COMMON.items():
                self.assertIsInstance(train[key], (int, float) if kind is float else int, key)
            self.assertEqual(train["status"], "success")
            self.assertGreater(train["file_size"], 0)
            last = train["metrics"][-1]
            for key in ("train loss", "train samples", "train total tokens", "test accuracy"):
                self.assertIn(key, last)
            self.assertEqual(last["train samples"], 48)
            for package in ("peft", "transformers", "datasets", "torch", "bitsandbytes"):
                self.assertIn(f"{package}-version", meta["package_info"])
            self.assertRegex(info["created_at"], r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00$")
            self.assertIn("seed", info["experiment_name"])
            names.add((info["experiment_name"], info["train_config"]["model_id"]))
            if "lora" in file.name:
                self.assertEqual(info["peft_config"]["peft_type"], "LORA")
            else:
                self.assertIsNone(info["peft_config"])
        self.assertEqual(len(names), 4, "its reader keeps one result a name")

    def test_nothing_to_write(self):
        self.assert_refused(run("report", self.root / "out"), 2, "nothing to write")


if __name__ == "__main__":
    support.main()
