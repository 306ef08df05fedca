"""A run that was killed, stopped or out of disk and then resumed ends bit for bit like one that never stopped.

Three ways to stop: SIGKILL in the midst of a chosen system call (fault.cpp, named by GRAFT_FAULT), SIGKILL while log.jsonl grows, and
SIGTERM or SIGINT. Each resumed run is killed once more. Compared: the adapter's bytes, adapter.json, metrics.json, log.jsonl and the
list of files that remain; clock and memory readings aside. GRAFT_SLOW=1 tries many more moments.
"""

import fcntl
import os
import pathlib
import random
import shutil
import signal
import subprocess
import time
import unittest

import support
from support import run

FAULT = os.environ.get("GRAFT_FAULT", "")
IS_SLOW = os.environ.get("GRAFT_SLOW") == "1"

EVERY_TWO = ["max_steps=12", "checkpoint_every=2", "evaluate_every=3", "dropout=0.1", "learning_rate=0.01", "batch_size=8"]
VARIANTS = {
    "lora": ("bert-tiny", "lora", []),
    "full": ("bert-tiny", "full", ["learning_rate=0.002"]),
    "by_tokens": ("bert-tiny", "lora", ["batch_size=4", "token_budget=40", "accumulate=2", "order=length", "max_steps=0", "epochs=2.5"]),
    "bf16": ("bert-tiny", "lora", ["precision=bf16"]),
    "last": ("roberta-tiny", "bitfit", ["keep_best=false", "evaluate_every=5"]),
    "early_stop": ("bert-tiny", "lora", ["evaluate_every=1", "early_stop=3", "max_steps=40", "learning_rate=1e-6"]),
    "no_evaluation": ("bert-tiny", "lora", ["data.eval=", "data.test="]),
    "constant": ("bert-tiny", "lora", ["schedule=constant", "warmup=0"]),
    "lora_dropout": ("bert-tiny", "lora", ["adapter.dropout=0.2", "clip=0.1", "schedule=cosine", "warmup=3"]),
}


def faulty(**settings):
    return {**support.environment(), "LD_PRELOAD": FAULT, **{f"FAULT_{key.upper()}": str(value) for key, value in settings.items()}}


class ResumeCase(support.Case):
    def setUp(self):
        super().setUp()
        self.data = self.dir / "data"
        self.data.mkdir()
        support.write_tsv(self.data / "train.tsv", support.rows(60, 1))
        support.write_tsv(self.data / "dev.tsv", support.rows(20, 2))
        support.write_tsv(self.data / "test.tsv", support.rows(12, 3))

    def arguments(self, out, model, adapter, settings):
        folder = self.dir / model
        if not folder.exists():
            support.make_model(folder, model)
        data = ["--data", self.data]
        if "data.eval=" in settings:
            data = ["--data", self.data / "train.tsv"]
            settings = [s for s in settings if not s.startswith("data.")]
        args = ["train", "--model", folder, "--task", "text:bad,good", *data, "--adapter", adapter, "--out", out, "--threads", 1, "--quiet"]
        for setting in settings:
            args += ["--set", setting]
        return args

    def launch(self, args, env):
        return subprocess.run(support.command(*args), env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              timeout=300, encoding="utf-8")

    def restart(self, out, args):
        """The command that brings a broken-off run on: the first one again where no run.yaml was written yet."""
        return ["train", "--resume", out, "--threads", 1, "--quiet"] if (out / "run.yaml").exists() else args


@unittest.skipUnless(FAULT, "GRAFT_FAULT does not name the library")
class Killed(ResumeCase):
    def check(self, name, moments):
        model, adapter, settings = VARIANTS[name]
        whole = self.dir / "whole"
        args = self.arguments(whole, model, adapter, EVERY_TWO + settings)
        counted = self.launch(args, faulty(count=self.dir / "count"))
        self.assert_done(counted)
        expected = support.end_state(whole)
        expected_log = expected.pop("log")
        self.assertEqual(expected_log[-1]["event"], "done")
        if name == "early_stop":
            self.assertLess(expected_log[-1]["steps"], 40)
        calls = int((self.dir / "count").read_text())
        shutil.move(whole, self.dir / "kept")
        rng = random.Random(7)
        points = sorted({1, 2, 3, calls, calls - 1, *(1 + (calls - 1) * i // (moments - 1) + rng.randint(-2, 2) for i in range(moments))})
        for point in (p for p in points if 1 <= p <= calls):
            with self.subTest(variant=name, killed_at_call=point, of=calls):
                shutil.rmtree(whole, ignore_errors=True)   # the same folder each time: its name is part of adapter.json
                self.assertEqual(self.launch(args, faulty(kill_at=point)).returncode, -signal.SIGKILL)
                again = self.launch(self.restart(whole, args), faulty(kill_at=rng.randint(1, calls)))   # it may get through
                self.assertIn(again.returncode, (0, -signal.SIGKILL), again.stderr)
                if again.returncode != 0:
                    self.assert_done(self.launch(self.restart(whole, args), support.environment()))
                state = support.end_state(whole)
                self.assertEqual(state.pop("log"), expected_log)
                self.assertEqual(state, expected)
                finished = run("train", "--resume", whole)
                self.assert_done(finished)
                self.assertIn("finished", finished.stdout)


def add_variant(name):
    is_fast = name in ("lora", "early_stop", "constant")
    moments = 60 if IS_SLOW else 7

    @unittest.skipUnless(is_fast or IS_SLOW, "slow")
    def test(self):
        self.check(name, moments)
    setattr(Killed, f"test_{name}", test)


for each in VARIANTS:
    add_variant(each)


class Lengthened(ResumeCase):
    """A run that is made longer ends like one that was so long from the start."""

    CONSTANT = ["schedule=constant", "evaluate_every=1 epoch", "dropout=0.1", "learning_rate=0.01", "batch_size=8"]

    def settings(self, *more):
        return [*self.CONSTANT, *more]

    def numbers(self, out):
        """What both runs must have in common: all but the lengths that run.yaml and the log's first line tell."""
        state = support.end_state(out)
        state["log"] = [event for event in state["log"] if event["event"] in ("step", "evaluate", "records", "done")]
        return state

    def check(self, short, longer, whole, adapter="lora"):
        """`short`: settings of the first run; `longer`: of its resumes, one after the other; `whole`: of the run to compare with."""
        out = self.dir / "run"
        self.assert_done(run(*self.arguments(out, "bert-tiny", adapter, self.settings(*whole))))
        expected = self.numbers(out)
        shutil.rmtree(out)
        self.assert_done(run(*self.arguments(out, "bert-tiny", adapter, self.settings(*short))))
        for settings in longer:
            self.assertIn("makes it longer", self.assert_done(run("train", "--resume", out)).stdout)
            self.assert_done(run("train", "--resume", out, "--threads", 1, "--quiet", *[part for each in settings for part in ("--set", each)]))
        self.assertEqual(self.numbers(out), expected)
        return out

    def test_from_another_folder_the_paths_that_lead_nowhere_are_named(self):
        support.make_model(self.dir / "model")
        (self.dir / "own.yaml").write_text("name: own\ntext: text\nlabel: label\nlabels: [bad, good]\n")
        self.assert_done(run("train", "--model", "model", "--task", "own.yaml", "--data", "data/train.tsv", "--adapter", "lora", "--out", "run", "--threads", 1, "--quiet",
                             "--set", "max_steps=2", "schedule=constant", "warmup=0", cwd=self.dir))
        longer = ["--set", "max_steps=4", "--threads", 1, "--quiet"]
        self.assert_refused(run("train", "--resume", "../run", *longer, cwd=self.data), 2, "../run/run.yaml: /model: 'model': no such file or folder\n",
                            "../run/run.yaml: /task: 'own.yaml': ", "../run/run.yaml: /data/train: 'data/train.tsv': ", "go on from there")
        self.assert_done(run("train", "--resume", "run", *longer, cwd=self.dir))

    def test_by_epochs(self):
        out = self.check(["epochs=1", "warmup=0"], [["epochs=3"]], ["epochs=3", "warmup=0"])
        events = [event for event in support.log_events(out) if event["event"] == "lengthen"]
        self.assertEqual([(event["step"], event["total_steps"]) for event in events], [(8, 24)])
        self.assertIn("lengthened_from:", (out / "run.yaml").read_text())
        self.assertEqual(len(list((out / "checkpoints").iterdir())), 1)

    def test_twice(self):
        self.check(["epochs=1", "warmup=0"], [["epochs=2"], ["max_steps=24"]], ["epochs=3", "warmup=0"])

    def test_by_steps(self):
        self.check(["max_steps=8", "warmup=3"], [["max_steps=16"]], ["max_steps=16", "warmup=3"])

    def test_a_warm_up_keeps_its_steps(self):
        self.check(["epochs=1", "warmup=0.25"], [["epochs=2"]], ["epochs=2", "warmup=2"])

    def test_by_tokens_in_accumulated_batches(self):
        budget = ["batch_size=4", "token_budget=60", "accumulate=2", "order=length"]
        self.check([*budget, "epochs=1", "warmup=0"], [["epochs=2"]], [*budget, "epochs=2", "warmup=0"])

    def test_a_dora_and_full_fine_tuning_and_the_last_adapter(self):
        for adapter, more in (("dora", []), ("full", ["learning_rate=0.002"]), ("lora", ["keep_best=false"]), ("lora", ["precision=bf16"])):
            with self.subTest(adapter=adapter, more=more):
                self.check([*more, "epochs=1", "warmup=0"], [["epochs=2"]], [*more, "epochs=2", "warmup=0"], adapter)
                shutil.rmtree(self.dir / "run")

    def test_one_that_was_stopped(self):
        out = self.dir / "run"
        self.assert_done(run(*self.arguments(out, "bert-tiny", "lora", self.settings("max_steps=12", "warmup=0"))))
        expected = self.numbers(out)
        shutil.rmtree(out)
        args = self.arguments(out, "bert-tiny", "lora", self.settings("max_steps=10", "warmup=0", "checkpoint_every=2"))
        if not FAULT:
            self.skipTest("GRAFT_FAULT does not name the library")
        self.launch(args, faulty(count=self.dir / "count"))
        calls = int((self.dir / "count").read_text())
        shutil.rmtree(out)
        self.assertEqual(self.launch(args, faulty(kill_at=calls * 3 // 4)).returncode, -signal.SIGKILL)
        self.assert_done(run("train", "--resume", out, "--threads", 1, "--quiet", "--set", "max_steps=12"))
        self.assertEqual(self.numbers(out), expected)

    @unittest.skipUnless(FAULT, "GRAFT_FAULT does not name the library")
    def test_killed_while_it_is_made_longer(self):
        out = self.dir / "run"
        short = self.arguments(out, "bert-tiny", "lora", self.settings("epochs=1", "warmup=0"))
        longer = ["train", "--resume", out, "--threads", 1, "--quiet", "--set", "epochs=2"]
        self.assert_done(run(*short))
        shutil.copytree(out, self.dir / "kept")
        self.launch(longer, faulty(count=self.dir / "count"))
        expected, calls = support.end_state(out), int((self.dir / "count").read_text())
        for point in sorted({1, 2, 3, 4, 5, 6, 8, 10, 14, 20, calls // 2, calls - 2, calls}):
            with self.subTest(killed_at_call=point, of=calls):
                shutil.rmtree(out)
                shutil.copytree(self.dir / "kept", out)
                self.assertEqual(self.launch(longer, faulty(kill_at=point)).returncode, -signal.SIGKILL)
                is_longer = "lengthened_from: []" not in (out / "run.yaml").read_text()
                self.assert_done(run("train", "--resume", out, "--threads", 1, "--quiet"))   # to whichever end run.yaml says
                if not is_longer:
                    self.assert_done(run(*longer))
                self.assertEqual(support.end_state(out), expected)

    def test_an_end_between_two_evaluations(self):
        """The evaluation at the end of the shorter run is one more; the adapter kept is the best of all, and is what it scored."""
        out, common = self.dir / "run", ["evaluate_every=5", "warmup=0"]
        self.assert_done(run(*self.arguments(out, "bert-tiny", "lora", self.settings("max_steps=16", *common))))
        steps = [event for event in self.numbers(out)["log"] if event["event"] == "step"]
        shutil.rmtree(out)
        self.assert_done(run(*self.arguments(out, "bert-tiny", "lora", self.settings("max_steps=8", *common))))
        self.assert_done(run("train", "--resume", out, "--threads", 1, "--quiet", "--set", "max_steps=16"))
        state = self.numbers(out)
        self.assertEqual([event for event in state["log"] if event["event"] == "step"], steps)
        evaluations = [event for event in state["log"] if event["event"] == "evaluate"]
        self.assertEqual([event["step"] for event in evaluations], [5, 8, 10, 15, 16])
        best = max(evaluations, key=lambda event: (event["accuracy"], -event["loss"], -event["step"]))
        self.assertEqual(state["metrics"]["step"], best["step"])
        self.assertEqual((state["metrics"]["eval"]["accuracy"], state["metrics"]["eval"]["loss"]), (best["accuracy"], best["loss"]))

    def test_the_evaluation_at_the_end_does_not_count_towards_an_early_stop(self):
        out, common = self.dir / "run", ["early_stop=1", "evaluate_every=5", "learning_rate=1e-7", "warmup=0"]
        self.assert_done(run(*self.arguments(out, "bert-tiny", "lora", self.settings("max_steps=8", *common))))
        self.assert_done(run("train", "--resume", out, "--threads", 1, "--quiet", "--set", "max_steps=16"))
        self.assertEqual([event["step"] for event in support.log_events(out) if event["event"] == "evaluate"], [5, 8, 10])

    def test_a_run_that_another_process_writes(self):
        out = self.dir / "run"
        self.assert_done(run(*self.arguments(out, "bert-tiny", "lora", self.settings("epochs=1", "warmup=0"))))
        (out / ".run.yaml.abcdef").write_text("what the other process is writing")
        before = support.tree_digest(out)
        with open(out / "log.jsonl", "rb") as held:
            fcntl.flock(held, fcntl.LOCK_EX)
            self.assert_refused(run("train", "--resume", out, "--set", "epochs=2"), 3, "log.jsonl", "another process is writing this run")
            self.assertEqual(support.tree_digest(out), before)

    def test_refusals(self):
        out = self.dir / "run"
        def refused(settings, *parts):
            self.assert_refused(run("train", "--resume", out, *[part for each in settings for part in ("--set", each)]), 2, *parts)
        for more, asked, parts in [
            (["schedule=linear"], ["epochs=2"], ["schedule: linear", "depend on the length of the whole run", f"--set start_from={out}/adapter"]),
            (["schedule=cosine"], ["max_steps=99"], ["schedule: cosine", "schedule: constant"]),
            (["checkpoint_every=never"], ["epochs=2"], ["no checkpoint is left", "checkpoint_every is not never"]),
            ([], ["epochs=1"], ["the run has 8 steps, and these settings give it 8; expected more"]),
            ([], ["epochs=0.5"], ["the run has 8 steps, and these settings give it 4; expected more"]),
            ([], ["learning_rate=1"], ["--set learning_rate=1", "epochs or max_steps"]),
            ([], ["epochs=2", "seed=3"], ["--set seed=3", "epochs or max_steps"]),
            ([], ["epochs=-2"], ["epochs", "-2"]),
            ([], ["epochs"], ["--set epochs"]),
            (["max_steps=8"], ["epochs=9"], ["max_steps is 8", "give max_steps"]),
            (["early_stop=1", "evaluate_every=1", "epochs=3", "learning_rate=1e-7"], ["epochs=6"], ["ended by early_stop", "without improvement"]),
        ]:
            with self.subTest(more=more, asked=asked):
                shutil.rmtree(out, ignore_errors=True)
                self.assert_done(run(*self.arguments(out, "bert-tiny", "lora", self.settings("epochs=1", "warmup=0", *more))))
                before = support.tree_digest(out)
                refused(asked, *parts)
                self.assertEqual(support.tree_digest(out), before, "a refused run stays as it was")
                self.assert_done(run("train", "--resume", out))


class Stopped(ResumeCase):
    LONG = ["max_steps=300", "checkpoint_every=25", "evaluate_every=60", "dropout=0.1", "learning_rate=0.003", "batch_size=8"]

    def start_and_stop(self, args, log, events, number, hang_up=signal.SIG_DFL):
        """Runs `args` and sends signal `number` once log.jsonl has `events` lines. `hang_up`: what the process finds about SIGHUP."""
        before = log.read_bytes().count(b"\n") if log.exists() else 0
        process = subprocess.Popen(support.command(*args), env=support.environment(), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                   stderr=subprocess.PIPE, encoding="utf-8", preexec_fn=lambda: signal.signal(signal.SIGHUP, hang_up))
        was_cut = before == 0
        while process.poll() is None:
            count = log.read_bytes().count(b"\n") if log.exists() else 0
            was_cut = was_cut or count < before   # a resume cuts the log before it grows again
            if was_cut and count >= events or not was_cut and count > before:
                process.send_signal(number)
                break
            time.sleep(0.0005)
        stderr = process.communicate(timeout=60)[1]
        return process.returncode, stderr

    def setUp(self):
        super().setUp()
        self.out = self.dir / "run"
        self.args = self.arguments(self.out, "bert-tiny", "lora", self.LONG)
        self.assert_done(run(*self.args))
        self.expected = support.end_state(self.out)

    def assert_same_end(self):
        self.assert_done(run("train", "--resume", self.out, "--threads", 1, "--quiet"))
        self.assertEqual(support.end_state(self.out), self.expected)

    def test_killed_while_the_log_grows(self):
        for events in ([1, 40, 150, 290] if not IS_SLOW else [1, 2, 5, 24, 26, 27, 60, 100, 130, 180, 220, 260, 290, 303, 305]):
            with self.subTest(events=events):
                shutil.rmtree(self.out)
                code, _ = self.start_and_stop(self.args, self.out / "log.jsonl", events, signal.SIGKILL)
                self.assertIn(code, (-signal.SIGKILL, 0))
                code, _ = self.start_and_stop(self.restart(self.out, self.args), self.out / "log.jsonl", events + 60, signal.SIGKILL)
                self.assertIn(code, (-signal.SIGKILL, 0))
                self.assert_same_end()

    def test_asked_to_stop(self):
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            for events in ((30, 200) if not IS_SLOW else (2, 20, 26, 27, 30, 61, 111, 200, 250)):
                with self.subTest(signal=number.name, events=events):
                    shutil.rmtree(self.out)
                    code, stderr = self.start_and_stop(self.args, self.out / "log.jsonl", events, number)
                    self.assertEqual(code, 128 + number, stderr)
                    self.assertIn(f"go on with: graft train --resume {self.out}", stderr)
                    last = support.log_events(self.out)[-1]["step"]
                    self.assertIn(f"stopped at step {last}", stderr)
                    self.assertEqual([path.name for path in (self.out / "checkpoints").iterdir()], [f"step-{last}"])
                    self.assertFalse((self.out / "metrics.json").exists())
                    self.assert_same_end()

    def test_nohup_outlives_its_terminal(self):
        shutil.rmtree(self.out)
        code, stderr = self.start_and_stop(self.args, self.out / "log.jsonl", 100, signal.SIGHUP, hang_up=signal.SIG_IGN)
        self.assertEqual(code, 0, stderr)
        self.assertEqual(support.end_state(self.out), self.expected)

    def test_resume_by_another_spelling_of_the_path(self):
        shutil.rmtree(self.out)
        self.start_and_stop(self.args, self.out / "log.jsonl", 100, signal.SIGTERM)
        done = run("train", "--resume", f"../{self.out.name}/", "--threads", 1, "--quiet", cwd=self.data)
        self.assert_done(done)
        self.assertEqual(support.end_state(self.out), self.expected)

    def test_resume_of_a_run_that_is_running(self):
        shutil.rmtree(self.out)
        process = subprocess.Popen(support.command(*self.args), env=support.environment(), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                   stderr=subprocess.PIPE, encoding="utf-8")
        log = self.out / "log.jsonl"
        while process.poll() is None and not (log.exists() and log.read_bytes().count(b"\n") > 2):
            time.sleep(0.0005)
        process.send_signal(signal.SIGSTOP)
        self.assert_refused(run("train", "--resume", self.out, "--quiet"), 3, "log.jsonl", "another process")
        process.send_signal(signal.SIGCONT)
        stderr = process.communicate(timeout=60)[1]
        self.assertEqual(process.returncode, 0, stderr)
        self.assertEqual(support.end_state(self.out), self.expected)

    def test_resume_of_a_moved_run(self):
        shutil.rmtree(self.out)
        self.start_and_stop(self.args, self.out / "log.jsonl", 100, signal.SIGTERM)
        moved = self.dir / "elsewhere"
        shutil.move(self.out, moved)
        self.assert_done(run("train", "--resume", moved, "--threads", 1, "--quiet"))
        self.assertEqual(support.end_state(moved), self.expected)

    def test_resume_refuses_other_data_or_another_model(self):
        shutil.rmtree(self.out)
        self.start_and_stop(self.args, self.out / "log.jsonl", 100, signal.SIGTERM)
        changes = {"train.tsv": self.data / "train.tsv", "dev.tsv": self.data / "dev.tsv", "tokenizer.json": self.dir / "bert-tiny" / "tokenizer.json",
                   "model.safetensors": self.dir / "bert-tiny" / "model.safetensors"}
        for name, path in changes.items():
            with self.subTest(changed=name):
                old = path.read_bytes()
                if name.endswith(".tsv"):
                    path.write_bytes(old + b"the film was great\tgood\n")
                elif name == "tokenizer.json":
                    path.write_bytes(old.replace(b'"lowercase": true', b'"lowercase": false'))
                else:
                    tensors = support.read_safetensors(path)
                    key = sorted(tensors)[0]
                    dtype, shape, data = tensors[key]
                    tensors[key] = (dtype, shape, data[4:] + data[:4])
                    support.write_safetensors(path, tensors)
                before = support.tree_digest(self.out)
                self.assert_refused(run("train", "--resume", self.out), 2, "checkpoint at step", "restore")
                self.assertEqual(support.tree_digest(self.out), before)
                path.write_bytes(old)
        self.assert_same_end()


if __name__ == "__main__":
    support.main()
