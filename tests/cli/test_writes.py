"""Writing fails: exit code 3, one message with path and reason; what was complete before still loads; a resume goes on from there.

Two ways: a limit on the size of files (RLIMIT_FSIZE, which a process would normally die of), and a disk that is full from the Nth
write on (fault.cpp, named by GRAFT_FAULT). Permissions cannot be used: root may write anywhere.
"""

import os
import pathlib
import resource
import shutil
import signal
import subprocess
import unittest

import support
from support import run

FAULT = os.environ.get("GRAFT_FAULT", "")


def limited(limit):
    """For preexec_fn: files may grow to `limit` bytes, and the signal has its usual, deadly meaning."""
    def apply():
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    return apply


class Writes(support.Case):
    SETTINGS = ["max_steps=12", "batch_size=8", "checkpoint_every=2", "evaluate_every=3", "learning_rate=0.01", "dropout=0.1"]

    def setUp(self):
        super().setUp()
        support.make_model(self.dir / "model")
        (self.dir / "data").mkdir()
        support.write_tsv(self.dir / "data/train.tsv", support.rows(60, 1))
        support.write_tsv(self.dir / "data/dev.tsv", support.rows(20, 2))
        self.out = self.dir / "run"

    def arguments(self):
        args = ["train", "--model", self.dir / "model", "--task", "text:bad,good", "--data", self.dir / "data", "--adapter", "lora", "--out", self.out,
                "--threads", 1, "--quiet"]
        return args + [part for setting in self.SETTINGS for part in ("--set", setting)]

    def resumed(self):
        return ["train", "--resume", self.out, "--threads", 1, "--quiet"]

    def whole(self):
        self.assert_done(run(*self.arguments()))
        state = support.end_state(self.out)
        shutil.rmtree(self.out)
        return state

    def assert_adapter_is_whole(self):
        """The adapter folder holds one that loads, or none."""
        if not (self.out / "adapter" / "adapter.json").exists():
            return
        self.assert_done(run("eval", "--model", self.dir / "model", "--adapter", self.out / "adapter", "--data", self.dir / "data/dev.tsv", "--quiet"))

    def assert_no_temp_files(self):
        if self.out.exists():
            self.assertEqual([str(path) for path in self.out.rglob(".*")], [])

    def test_file_size_limit(self):
        expected = self.whole()
        for limit in (100, 1500, 3000, 9000, 20000):   # run.yaml, log.jsonl, adapter.json, the adapter, the state
            with self.subTest(limit=limit):
                shutil.rmtree(self.out, ignore_errors=True)
                self.assert_refused(run(*self.arguments(), preexec_fn=limited(limit)), 3, "cannot write", str(self.out), "File too large")
                self.assert_no_temp_files()
                self.assert_adapter_is_whole()
                self.assert_done(run(*(self.resumed() if (self.out / "run.yaml").exists() else self.arguments())))
                self.assertEqual(support.end_state(self.out), expected)

    def test_results_that_cannot_be_written(self):
        self.assert_done(run(*self.arguments()))
        common = ["--model", self.dir / "model", "--adapter", self.out / "adapter"]
        target = self.dir / "out.jsonl"
        target.write_text("as it was")
        for args in (["predict", *common, "--data", self.dir / "data/dev.tsv", "--out", target],
                     ["eval", *common, "--data", self.dir / "data/dev.tsv", "--json", target],
                     ["trace", *common, "--text", "the film", "--out", target],
                     ["plan", "--model", self.dir / "model", "--adapter", "lora", "--no-timing", "--json", target]):
            with self.subTest(command=args[0]):
                self.assert_refused(run(*args, preexec_fn=limited(40)), 3, str(target), "File too large")
                self.assertEqual(target.read_text(), "as it was")
                self.assertEqual([path.name for path in self.dir.glob(".*")], [])

    @unittest.skipUnless(os.path.exists("/dev/full"), "no /dev/full")
    def test_standard_output_is_full(self):
        with open("/dev/full", "w") as full:
            done = subprocess.run(support.command("inspect", "model", "--model", self.dir / "model"), env=support.environment(), stdout=full,
                                  stderr=subprocess.PIPE, encoding="utf-8", timeout=60)
        self.assert_refused(done, 3, "standard output")

    @unittest.skipUnless(FAULT, "GRAFT_FAULT does not name the library")
    def test_disk_full(self):
        env = {**support.environment(), "LD_PRELOAD": FAULT}
        def launch(args, **settings):
            return subprocess.run(support.command(*args), env={**env, **{f"FAULT_{key.upper()}": str(value) for key, value in settings.items()}},
                                  stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8", timeout=120)
        self.assert_done(launch(self.arguments(), count=self.dir / "count"))
        expected = support.end_state(self.out)
        calls = int((self.dir / "count").read_text())
        moments = 30 if os.environ.get("GRAFT_SLOW") == "1" else 6
        for point in sorted({1 + (calls - 30) * i // (moments - 1) for i in range(moments)}):
            with self.subTest(full_at_call=point, of=calls):
                shutil.rmtree(self.out)
                done = launch(self.arguments(), full_at=point)
                self.assert_refused(done, 3, str(self.out), "No space left on device")
                self.assert_no_temp_files()
                self.assert_adapter_is_whole()
                if (self.out / "run.yaml").exists():
                    again = launch(self.resumed(), full_at=1)   # still full: nothing gets worse
                    self.assert_refused(again, 3, str(self.out), "No space left on device")
                self.assert_done(run(*(self.resumed() if (self.out / "run.yaml").exists() else self.arguments())))
                self.assertEqual(support.end_state(self.out), expected)

    @unittest.skipUnless(FAULT, "GRAFT_FAULT does not name the library")
    def test_stop_asked_for_on_a_full_disk(self):
        """A checkpoint that cannot be written when a signal comes leaves the one before."""
        self.SETTINGS = ["max_steps=400", "batch_size=8", "checkpoint_every=20", "evaluate_every=never", "learning_rate=0.001"]
        expected = self.whole()
        process = subprocess.Popen(support.command(*self.arguments()), env=support.environment(), stderr=subprocess.PIPE, encoding="utf-8")
        log = self.out / "log.jsonl"
        while process.poll() is None and not (log.exists() and log.read_bytes().count(b"\n") > 50):
            pass
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (1000, 1000))
        process.send_signal(signal.SIGTERM)
        stderr = process.communicate(timeout=60)[1]
        self.assertEqual(process.returncode, 3, stderr)
        self.assertIn("File too large", stderr)
        self.assertEqual(len([path for path in (self.out / "checkpoints").glob("*/complete")]), 1)
        self.assert_done(run(*self.resumed()))
        self.assertEqual(support.end_state(self.out), expected)


if __name__ == "__main__":
    support.main()
