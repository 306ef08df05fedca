"""graft report --tensorboard and --peft-results: read back record by record and, where it is installed, by TensorBoard's own library; and by what
PEFT's reader asks for."""

import datetime
import json
import shutil
import struct
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
methods: {{lora: lora, head: head, full: full}}
tasks: {{mood: {{task: "text:bad,good", data: {root}/data}}}}
set: {{max_steps: 6, batch_size: 8, evaluate_every: 2 steps}}
grid: {{seed: [1, 2]}}
"""

# What PEFT's own reader takes of a result (method_comparison/processing.py at 4048dd3, of June 2026: _preprocess_common, _preprocess_metamathqa, load_df): where each
# column of its table stands, and as what pandas is told to take it. A missing key raises KeyError; None is no int and no float; a string may be None.
TAKEN = [
    ("run_info", {"experiment_name": str, "total_time": float, "peft_branch": str, "created_at": str}),
    ("train_info", {"accelerator_memory_reserved_avg": int, "accelerator_memory_max": int, "accelerator_memory_reserved_99th": int, "train_time": float,
                    "file_size": int, "num_trainable_params": int}),
    ("train_info metrics -1", {"train loss": float, "train samples": int, "test accuracy": float, "train total tokens": int}),
    ("run_info train_config", {"model_id": str}),
    ("meta_info package_info", {f"{package}-version": (str, type(None)) for package in ("peft", "transformers", "datasets", "torch", "bitsandbytes")}),
    ("meta_info", {"system_info": dict}),
]


def taken(result):
    """{column: value} as that reader finds them."""
    out = {}
    for place, columns in TAKEN:
        node = result
        for key in place.split():
            node = node[-1 if key == "-1" else key]
        for column, kind in columns.items():
            value = node[column]
            assert isinstance(value, (int, float) if kind is float else kind) and not isinstance(value, bool), (place, column, value)
            out[column] = value
    return out


def masked_crc(data):
    """CRC-32C (Castagnoli), turned and moved as TFRecord files have it."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ 0x82F63B78 * (crc & 1)
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def records_of(path):
    """The records of a TFRecord file, each as: length, check of the length, bytes, check of the bytes."""
    data, out, at = path.read_bytes(), [], 0
    while at < len(data):
        length, check = struct.unpack_from("<QI", data, at)
        assert check == masked_crc(data[at:at + 8]), (path, at)
        record, at = data[at + 12:at + 12 + length], at + 16 + length
        assert struct.unpack_from("<I", data, at - 4) == (masked_crc(record),), (path, at)
        out.append(record)
    return out


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

    def test_event_files_hold_every_point_of_the_curves(self):
        files = [path for path in (self.root / "board").rglob("*") if path.is_file()]
        self.assertEqual(len(files), 6)
        for file in files:
            version, *points = records_of(file)
            self.assertIn(b"brain.Event:2", version)
            self.assertEqual(len(points), 6 * 3 + 3 * 2)   # of steps loss, gradient norm and rate, of evaluations loss and accuracy
            events = self.logs(file.parent.name.replace("__", "_").replace("seed_", "seed-"))
            for tag, kind, key in ((b"train/loss", "step", "loss"), (b"eval/accuracy", "evaluate", "accuracy")):
                known = [struct.pack("<f", event[key]) for event in events if event["event"] == kind]
                found = [record for record in points if tag in record]
                self.assertEqual(len(found), len(known))
                for record, value in zip(found, known):
                    self.assertIn(value, record)

    def test_studies_of_one_name_have_folders_of_their_own(self):
        (self.dir / "study.yaml").write_text(STUDY.format(root=self.root).replace("study: moods", "study: a/b").replace("[1, 2]", "[1]"))
        self.assert_done(run("sweep", self.dir / "study.yaml", "--out", self.dir / "one", "--threads", 1, "--quiet"))
        shutil.copytree(self.dir / "one", self.dir / "other")
        self.assert_done(run("report", self.dir / "one", self.dir / "other", "--tensorboard", self.dir / "board"))
        members = [f"{name}__mood__seed_1" for name in ("full", "head", "lora")]
        found = {folder.name: sorted(path.name for path in folder.iterdir()) for folder in (self.dir / "board").iterdir()}
        self.assertEqual(found, {"a_b": members, "a_b-2": members})

    @unittest.skipUnless(HAS_TENSORBOARD, "needs tensorboard (tools/setup.sh peers)")
    def test_tensorboard_reads_the_curves(self):
        folders = sorted(path.name for path in (self.root / "board").iterdir())
        self.assertEqual(folders, ["full__mood__seed_1", "full__mood__seed_2", "head__mood__seed_1", "head__mood__seed_2", "lora__mood__seed_1", "lora__mood__seed_2"])
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
        self.assertEqual(len(files), 6)
        kept = {}
        for file in files:
            self.assertTrue(file.name.endswith(".json"), "its reader takes no others")
            result = json.loads(file.read_text(), parse_constant=lambda word: self.fail(f"{file}: {word}"))
            row = taken(result)
            self.assertEqual(result["train_info"]["status"], "success", "what has another one is skipped")
            created = datetime.datetime.fromisoformat(row["created_at"])
            self.assertEqual(created.utcoffset(), datetime.timedelta(0))
            self.assertLess(abs(datetime.datetime.now(datetime.timezone.utc) - created), datetime.timedelta(days=1))
            config = result["run_info"]["peft_config"]   # where it is false the reader writes full-finetuning
            method = row["experiment_name"].split("/")[0]
            self.assertEqual(config and config["peft_type"], {"lora": "LORA", "head": "HEAD", "full": None}[method])
            kept[row["experiment_name"], row["model_id"], config and config["peft_type"], row["created_at"]] = row
            # Bytes, seconds, counts and nats, as PEFT has them.
            run_ = self.root / "out/runs" / row["experiment_name"].split("/")[1].replace(", ", "_").replace(" ", "-")
            metrics = json.loads((run_ / "metrics.json").read_text())
            self.assertEqual(row["model_id"], str(self.root / "bert-tiny"))
            self.assertEqual({row[f"accelerator_memory_{name}"] for name in ("max", "reserved_avg", "reserved_99th")}, {metrics["peak_bytes"]})
            self.assertEqual((row["total_time"], row["train_time"]), (metrics["seconds"], metrics["seconds"]))
            self.assertEqual(row["file_size"], (run_ / "adapter/adapter.safetensors").stat().st_size)
            self.assertEqual(row["num_trainable_params"], metrics["edit_parameters"] + metrics["head_parameters"])
            self.assertEqual(row["train loss"], metrics["loss"]["last"])
            self.assertEqual((row["train samples"], row["train total tokens"]), (6 * 8, metrics["tokens"]))
            self.assertEqual(row["test accuracy"], metrics["eval"]["accuracy"])
            steps = result["train_info"]["metrics"]
            self.assertEqual([step["step"] for step in steps], [2, 4, 6, 6])
            self.assertEqual([step["valid accuracy"] for step in steps[:-1]], [event["accuracy"] for event in support.log_events(run_) if event["event"] == "evaluate"])
        self.assertEqual(len(kept), 6, "its reader keeps one result of a name, model, method and time")

    def test_nothing_to_write(self):
        self.assert_refused(run("report", self.root / "out"), 2, "nothing to write")


if __name__ == "__main__":
    support.main()
