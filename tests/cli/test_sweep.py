"""graft sweep: a study's members are the runs that graft train makes of them; killed and resumed it ends as one never interrupted;
shards joined equal one file; what is wrong is told, with its place, before anything is written."""

import json
import os
import pathlib
import random
import re
import resource
import shutil
import signal
import sqlite3
import subprocess
import time

import support
from support import run

KILLS = 20

STUDY = """\
study: moods
model: {root}/bert-tiny
methods:
  lora: {{adapter: lora, set: {{rank: 2}}}}
  head: head
tasks:
  mood: {{task: "text:bad,good", data: {root}/data}}
set: {{batch_size: 8, dropout: 0.1, checkpoint_every: 2 steps, evaluate_every: 3 steps}}
grid:
  rows: [20, 40]
  seed: [1, 2, 3]
together:
  - {{max_steps: [8, 12], learning_rate: [1e-2, 5e-3]}}
"""


# Without epsilon AdamW divides zero by zero where a tensor has had no gradient, as LoRA's A in the first step: a member that fails.
FAILING = ("rows: [20, 40]", "rows: [20]\n  epsilon: [1e-8, 0]")


def finished_runs(out):
    return [path.parent for path in (out / "runs").glob("*/metrics.json")]


def content(path):
    """Every table's rows, clock and memory readings aside."""
    with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as database:
        tables = [name for (name,) in database.execute("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name")]
        return {table: database.execute(f"SELECT * FROM {table}").fetchall() for table in tables if table != "readings"}


class SweepCase(support.SharedCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        support.make_model(cls.root / "bert-tiny")
        (cls.root / "data").mkdir()
        support.write_tsv(cls.root / "data" / "train.tsv", support.rows(60, 1))
        support.write_tsv(cls.root / "data" / "dev.tsv", support.rows(20, 2))
        support.write_tsv(cls.root / "data" / "test.tsv", support.rows(12, 3))

    def study(self, *changes):
        text = STUDY.format(root=self.root)
        for old, new in changes:
            self.assertIn(old, text)
            text = text.replace(old, new)
        path = self.dir / "study.yaml"
        path.write_text(text)
        return path

    def sweep(self, study, out, *more):
        return run("sweep", study, "--out", out, "--threads", 1, "--quiet", *more)

    def assert_failed(self, done, failed, total):
        """All is done, and so many members failed."""
        self.assertEqual(done.returncode, 1, f"{done.args}\n{done.stdout}\n{done.stderr}")
        self.assertIn(f"done: {total - failed} of {total}, failed: {failed}\n", done.stdout)
        self.assertTrue(done.stderr.endswith(f"graft: {failed} of {total} members failed; graft sweep status tells why, --retry-failed tries them again\n"), done.stderr)
        return done


class Whole(SweepCase):
    def test_members_are_the_runs_of_train(self):
        out = self.dir / "out"
        done = self.assert_done(self.sweep(self.study(("rows: [20, 40]", "rows: [20]"), ("[1, 2, 3]", "[2]")), out))
        self.assertIn("done: 4 of 4", done.stdout)
        folder = out / "runs" / "lora_mood_rows-20_seed-2_max_steps-12_learning_rate-5e-3"
        expected = support.end_state(folder)
        shutil.rmtree(folder)   # the run's folder is part of its settings
        self.assert_done(run("train", "--model", self.root / "bert-tiny", "--task", "text:bad,good", "--data", self.root / "data",
                             "--adapter", "lora", "--out", folder, "--threads", 1, "--quiet", "--set", "rank=2", "batch_size=8",
                             "dropout=0.1", "checkpoint_every=2 steps", "evaluate_every=3 steps", "data.rows=20", "seed=2",
                             "max_steps=12", "learning_rate=5e-3"))
        self.assertEqual(support.end_state(folder), expected)
        rows = content(out / "study.db")
        member = next(id for id, name, *_ in rows["members"] if name.startswith("lora") and "max_steps 12" in name)
        metrics = json.loads((folder / "metrics.json").read_text())
        scores = {(side, metric): value for each, _, side, metric, value in rows["scores"] if each == member}
        self.assertEqual(scores["eval", "accuracy"], metrics["eval"]["accuracy"])
        self.assertEqual(scores["test", "loss"], metrics["test"]["loss"])
        answers = [(truth, answer) for each, side, _, _, truth, answer in rows["answers"] if each == member and side == "eval"]
        self.assertEqual(len(answers), 20)
        self.assertEqual(sum(truth == answer for truth, answer in answers) / 20, metrics["eval"]["accuracy"])
        losses = [value for each, _, side, metric, _, value in rows["curve"]
                  if each == member and (side, metric) == ("train", "loss")]
        self.assertEqual(losses, [event["loss"] for event in support.log_events(folder) if event["event"] == "step"])

    def test_members_together_come_to_what_they_come_to_one_after_another(self):
        """Some share passes, some take turns, one fails; how many train at once leaves no trace but in the readings."""
        study = self.study(("  head: head", "  head: head\n  full: full\n  adamix: {adapter: adamix, set: {experts: 2}}"),
                           ("[1, 2, 3]", "[1, 2]"), FAILING)
        found = {}
        most = 0
        for name, more in {"turns": ["--together", 1], "together": ["--together", 16], "three": ["--together", 3],
                           "little": ["--together", 16, "--memory"]}.items():
            more = more + [most + 1] if name == "little" else more   # room for the largest, not for two
            self.assert_failed(self.sweep(study, self.dir / name, *more), 8, 32)
            folders = finished_runs(self.dir / name)
            found[name] = content(self.dir / name / "study.db"), {folder.name: support.end_state(folder) for folder in folders}
            most = max(support.log_events(folder)[0]["predicted_peak_bytes"] for folder in folders)
        for name in ("together", "three", "little"):
            with self.subTest(name):
                self.assertEqual(found[name][0], found["turns"][0])
                self.assertEqual(found[name][1], found["turns"][1])

    def test_a_member_without_memory_leaves_the_others(self):
        """Under a limit of addresses, and told that there is more than there is."""
        support.write_tsv(self.dir / "many.tsv", support.rows(24_000, 3))
        (self.dir / "study.yaml").write_text(
            f"study: large\nmodel: {self.root}/bert-tiny\nmethods: {{lora: lora, large: {{adapter: full, set: {{batch_size: 24000}}}}, head: head}}\n"
            f"tasks: {{mood: {{task: 'text:bad,good', train: {self.dir}/many.tsv}}}}\nset: {{max_steps: 2, warmup: 0}}\n")
        limit = 700 << 20    # of addresses; the program and its libraries take 400 MiB of them
        done = self.assert_failed(run("sweep", "study.yaml", "--out", "out", "--threads", 1, "--quiet", "--memory", "100G", cwd=self.dir,
                                      preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (limit, limit))), 1, 3)
        self.assertRegex(done.stderr, r"^failed: large, mood: out of memory: this process may take 734 MB of addresses .*Lower batch_size, .*\ngraft: .*\n$")
        states = {name: (state, reason) for _, name, _, state, reason in content(self.dir / "out/study.db")["members"]}
        self.assertEqual([states[name][0] for name in ("lora, mood", "large, mood", "head, mood")], ["done", "failed", "done"])
        self.assertTrue(states["large, mood"][1].startswith("out of memory: "))

    def test_shards_joined_equal_one_file(self):
        study = self.study()
        self.assert_done(self.sweep(study, self.dir / "whole"))
        shards = []
        for k in (1, 2, 3):
            done = self.assert_done(self.sweep(study, self.dir / "parts", "--shard", f"{k}/3"))
            self.assertIn("done: 8 of 8", done.stdout)
            shards.append(self.dir / "parts" / f"shard-{k}-of-3.db")
        self.assert_done(run("sweep", "join", *shards, "--out", self.dir / "joined.db"))
        whole, joined = content(self.dir / "whole" / "study.db"), content(self.dir / "joined.db")
        self.assertEqual(len(whole["members"]), 24)
        self.assertEqual(joined, whole)
        self.assert_refused(run("sweep", "join", *shards, "--out", self.dir / "joined.db"), 2, "is there already")
        status = self.assert_done(run("sweep", "status", shards[0]))
        self.assertIn("8 done, 0 failed, 16 waiting of 24", status.stdout)
        table = self.assert_done(run("sweep", "table", self.dir / "whole", "--side", "eval", "--format", "csv"))
        lines = [line.split(",") for line in table.stdout.splitlines()]
        self.assertEqual(len(lines), 1 + 8)
        first = dict(zip(lines[0], lines[1]))
        scores = [value for member, _, side, metric, value in whole["scores"]
                  if member in (0, 2, 4) and (side, metric) == ("eval", "accuracy")]
        self.assertEqual(len(scores), 3)
        self.assertAlmostEqual(float(first["mean"]), sum(scores) / 3, places=12)
        text = self.assert_done(run("sweep", "table", self.dir / "whole")).stdout
        self.assertIn("Scores of test", text)
        self.assertIn("pairs would", text)

    def test_a_study_with_a_seed_more_keeps_what_is_done(self):
        out, small = self.dir / "out", ("rows: [20, 40]", "rows: [20]")
        self.assert_done(self.sweep(self.study(small, ("[1, 2, 3]", "[2]")), out))
        kept = {path: path.stat().st_mtime_ns for path in out.glob("runs/*/metrics.json")}
        self.assertEqual(len(kept), 4)
        study = self.study(small, ("[1, 2, 3]", "[1, 2]"))
        self.assertIn("done: 8 of 8", self.assert_done(self.sweep(study, out)).stdout)
        self.assertEqual({path: path.stat().st_mtime_ns for path in kept}, kept)
        self.assert_done(self.sweep(study, self.dir / "whole"))
        self.assertEqual(content(out / "study.db"), content(self.dir / "whole" / "study.db"))

    def test_a_member_that_fails_leaves_the_others_alone(self):
        out = self.dir / "out"
        study = self.study(FAILING, ("[1, 2, 3]", "[1]"))
        done = self.assert_failed(self.sweep(study, out), 2, 8)
        self.assertIn("failed: lora, mood, rows 20, epsilon 0, seed 1", done.stderr)
        self.assertIn("next: graft sweep table", done.stdout)
        status = self.assert_done(run("sweep", "status", out)).stdout
        self.assertIn("6 done, 2 failed, 0 waiting of 8", status)
        self.assertIn("step 2: the loss is nan", status)
        before, members = support.tree_digest(out), content(out / "study.db")
        self.assertNotIn("failed: lora", self.assert_failed(self.sweep(study, out), 2, 8).stderr)   # not tried again
        self.assertEqual(support.tree_digest(out), before)
        self.assertIn("failed: lora", self.assert_failed(self.sweep(study, out, "--retry-failed"), 2, 8).stderr)
        self.assertEqual(content(out / "study.db"), members)

    def test_no_table_is_named_where_no_member_is_done(self):
        study = self.study(("rows: [20, 40]", "rows: [20]\n  method: [lora]\n  epsilon: [0]"), ("[1, 2, 3]", "[1]"))
        self.assertNotIn("next:", self.assert_failed(self.sweep(study, self.dir / "out"), 2, 2).stdout)


class Killed(SweepCase):
    def test_killed_and_resumed_ends_as_one_never_interrupted(self):
        study, out = self.study(("seed: [1, 2, 3]", "seed: [1, 2]")), self.dir / "out"
        begin = time.monotonic()
        self.assert_done(self.sweep(study, out))
        seconds = time.monotonic() - begin
        expected = content(out / "study.db")
        runs = {folder.name: support.end_state(folder) for folder in (out / "runs").iterdir()}
        self.assertEqual(len(runs), 16)
        shutil.rmtree(out)
        rng, killed = random.Random(5), 0
        while killed < KILLS:
            process = subprocess.Popen(support.command("sweep", study, "--out", out, "--threads", 1, "--quiet"),
                                       env=support.environment(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
            try:
                process.wait(timeout=rng.uniform(0.3, 1.2) * seconds / 6)
            except subprocess.TimeoutExpired:
                process.kill()
                killed += 1
            _, told = process.communicate()
            self.assertIn(process.returncode, (0, -signal.SIGKILL), told)
            if process.returncode == 0:   # done before the last kill: begin again
                self.assertEqual(content(out / "study.db"), expected)
                shutil.rmtree(out)
        self.assert_done(self.sweep(study, out))
        self.assertEqual(content(out / "study.db"), expected)
        for name, state in runs.items():
            with self.subTest(run=name):
                self.assertEqual(support.end_state(out / "runs" / name), state)
        self.assertEqual(sorted(path.name for path in out.iterdir()), ["runs", "study.db"])
        before = support.tree_digest(out)
        self.assertIn("done: 16 of 16", self.assert_done(self.sweep(study, out)).stdout)
        self.assertEqual(support.tree_digest(out), before)

    def test_what_a_kill_behind_the_end_of_a_member_left_goes(self):
        """Its run is finished, its checkpoints are not all removed, and the study does not know of its end."""
        study, out = self.study(("rows: [20, 40]", "rows: [20]"), ("[1, 2, 3]", "[1]")), self.dir / "out"
        self.assert_done(self.sweep(study, out))
        expected, folder = content(out / "study.db"), out / "runs" / "lora_mood_rows-20_seed-1_max_steps-8_learning_rate-1e-2"
        state = support.end_state(folder)
        (folder / "checkpoints" / "step-4").mkdir(parents=True)
        with sqlite3.connect(out / "study.db") as database:
            changed = database.execute("UPDATE members SET state = 'waiting' WHERE name LIKE 'lora, % max_steps 8, %'")
            self.assertEqual(changed.rowcount, 1)
        self.assertIn("done: 4 of 4", self.assert_done(self.sweep(study, out)).stdout)
        self.assertEqual(content(out / "study.db"), expected)
        self.assertFalse((folder / "checkpoints").exists())
        self.assertEqual(support.end_state(folder), state)

    def test_a_signal_stops_it_and_the_same_command_goes_on(self):
        study, out = self.study(("max_steps: [8, 12]", "max_steps: [8, 1000]")), self.dir / "out"
        process = subprocess.Popen(support.command("sweep", study, "--out", out, "--threads", 1, "--together", 1),
                                   env=support.environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8")
        for line in process.stderr:
            if line.startswith("2/24"):
                break
        log = out / "runs" / "lora_mood_rows-20_seed-1_max_steps-1000_learning_rate-5e-3" / "log.jsonl"
        while not log.exists() or log.stat().st_size == 0:   # the handler stands before the first step
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=120)
        self.assertEqual(process.returncode, 130, told)
        self.assertIn("stopped after 1 of 24 members; the same command goes on", told)

    def test_a_signal_stops_members_together_and_the_same_command_goes_on(self):
        study = self.study(("max_steps: [8, 12]", "max_steps: [8, 200]"), ("[1, 2, 3]", "[1]"))
        self.assert_done(self.sweep(study, self.dir / "whole"))
        out = self.dir / "out"
        process = subprocess.Popen(support.command("sweep", study, "--out", out, "--threads", 1), env=support.environment(),
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8")
        for line in process.stderr:   # all have started, and the handler stands
            if line.startswith("8/8"):
                break
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=120)
        self.assertEqual(process.returncode, 130, told)
        self.assertIn("of 8 members; the same command goes on", told)
        self.assertEqual(len(list(out.glob("runs/*/checkpoints/step-*/"))) > 0, True)
        self.assert_done(self.sweep(study, out))
        self.assertEqual(content(out / "study.db"), content(self.dir / "whole" / "study.db"))


def workers_of(process):
    """Numbers of the processes that `process` has started."""
    task = pathlib.Path(f"/proc/{process.pid}/task/{process.pid}/children")
    return [int(number) for number in task.read_text().split()]


def logs_of(number):
    """Logs of the members that a worker is at."""
    try:
        opened = [os.readlink(link) for link in pathlib.Path(f"/proc/{number}/fd").iterdir()]
    except FileNotFoundError:   # it has ended, or closed one meanwhile
        return []
    return [pathlib.Path(name) for name in opened if name.endswith("/log.jsonl")]


def is_gone(number):
    try:
        return pathlib.Path(f"/proc/{number}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"   # nobody has asked for its end
    except FileNotFoundError:
        return True


class Workers(SweepCase):
    """Members trained in processes of their own."""

    def begun(self, study, out, *more):
        """A sweep whose two workers are each at a member of many steps, and have just stepped it."""
        begin = time.time_ns()
        process = subprocess.Popen(support.command("sweep", study, "--out", out, "--threads", 2, "--workers", 2, "--quiet", *more),
                                   env=support.environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8")
        self.addCleanup(process.kill)
        is_at_one = lambda number: any("max_steps-8_" not in str(log) and log.stat().st_mtime_ns > begin and log.stat().st_size > 0 for log in logs_of(number))
        while sum(is_at_one(number) for number in workers_of(process)) < 2:
            self.assertIsNone(process.poll())
            time.sleep(0.002)
        return process

    def test_they_come_to_what_one_process_comes_to(self):
        study = self.study(("  head: head", "  head: head\n  full: full"), FAILING)
        one, three = self.dir / "one", self.dir / "three"
        self.assert_failed(self.sweep(study, one), 12, 36)
        done = self.assert_failed(run("sweep", study, "--out", three, "--threads", 3, "--workers", 3), 12, 36)
        self.assertIn("failed: full, mood, rows 20, epsilon 0, seed 3", done.stderr)
        self.assertEqual(content(three / "study.db"), content(one / "study.db"))
        states = [{folder.name: support.end_state(folder) for folder in finished_runs(out)} for out in (one, three)]
        self.assertEqual(len(states[0]), 24)
        self.assertEqual(states[1], states[0])
        with sqlite3.connect(three / "study.db") as database:
            seconds = [value for *_, name, value in database.execute("SELECT * FROM readings") if name == "seconds"]
        self.assertEqual(len(seconds), 24)
        told = [(int(number), int(total)) for number, total in re.findall(r"member (\d+)/(\d+)  ", done.stderr)]
        self.assertGreater(len(told), 0)
        self.assertTrue(all(0 <= number <= 36 == total for number, total in told), told)
        together = [int(number) for number in re.findall(r"(\d+) together", done.stderr)]
        self.assertLessEqual(max(together, default=0), 36)

    def test_one_that_the_system_ends_fails_its_own_members_alone(self):
        study = self.study(("max_steps: [8, 12]", "max_steps: [8, 300]"), ("rows: [20, 40]", "rows: [20]"), ("[1, 2, 3]", "[1, 2]"))
        self.assert_done(self.sweep(study, self.dir / "whole"))
        process = self.begun(study, self.dir / "out", "--together", 1)
        os.kill(workers_of(process)[0], signal.SIGKILL)
        told, notes = process.communicate(timeout=300)
        self.assertEqual(process.returncode, 1, notes)
        self.assertRegex(told, r"^done: 7 of 8, failed: 1\n")
        self.assertRegex(notes, r"^failed: .*, max_steps 300, .*: its process was ended by signal 9 \(Killed\); a system without free memory does that\ngraft: 1 of 8 members failed; ")
        self.assert_done(self.sweep(study, self.dir / "out", "--retry-failed"))
        self.assertEqual(content(self.dir / "out/study.db"), content(self.dir / "whole/study.db"))

    def test_a_signal_and_the_end_of_the_first_process_stop_them(self):
        study, out = self.study(("max_steps: [8, 12]", "max_steps: [300, 200]"), ("rows: [20, 40]", "rows: [20]"), ("[1, 2, 3]", "[1]")), self.dir / "out"
        self.assert_done(self.sweep(study, self.dir / "whole"))
        for number, code in ((signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -signal.SIGKILL)):
            process = self.begun(study, out)
            started = workers_of(process)
            self.assertEqual(len(started), 2)
            process.send_signal(number)
            _, notes = process.communicate(timeout=120)
            self.assertEqual(process.returncode, code, notes)
            while not all(map(is_gone, started)):
                time.sleep(0.01)
            if code > 0:
                self.assertIn("of 4 members; the same command goes on", notes)
        self.assert_done(self.sweep(study, out))
        self.assertEqual(content(out / "study.db"), content(self.dir / "whole/study.db"))

    def test_an_error_of_one_is_the_studys(self):
        """What the system refuses one stops the study; what is done stays."""
        study, out = self.study(("[1, 2, 3]", "[1]")), self.dir / "out"
        blocked = out / "runs" / "head_mood_rows-40_seed-1_max_steps-12_learning_rate-5e-3"
        blocked.parent.mkdir(parents=True)
        blocked.write_text("no folder")
        done = run("sweep", study, "--out", out, "--threads", 2, "--workers", 2, "--together", 2, "--quiet")
        self.assert_refused(done, 3, str(blocked))
        blocked.unlink()
        self.assertIn("done: 8 of 8", self.assert_done(self.sweep(study, out)).stdout)


class Refused(SweepCase):
    def refuse(self, changes, *parts, more=()):
        out = self.dir / "out"
        self.assert_refused(self.sweep(self.study(*changes), out, *more), 2, *parts)
        self.assertFalse(out.exists())

    def test_faults_have_a_place_and_nothing_is_written(self):
        self.refuse([("grid:", "gird:")], "study.yaml:10:3: /gird: unknown key", "grid")
        self.refuse([("[1, 2, 3]", "[]")], "study.yaml:11:9: /grid/seed: expected one or more values")
        self.refuse([("[1, 2, 3]", "[1, 1]")], "/grid/seed: the value 1 stands twice")
        self.refuse([("  head: head", "  head: prefx")], "study.yaml:5:9: member \"head, mood, rows 20, seed 1",
                    "unknown adapter \"prefx\" (did you mean 'prefix'?)")
        self.refuse([("rank: 2", "rnk: 2")], "study.yaml:4:36: member \"lora", "did you mean 'rank'?")
        self.refuse([("batch_size: 8", "batch_size: none")], "study.yaml:8:19: member", "/batch_size")
        self.refuse([("text:bad,good", "cloze-of-mine.yaml")], "study.yaml:7:", "member")
        self.refuse([("  head: head", "  head: {adapter: lora, set: {rank: 2}}")], "and 11 more: is the same run as a member of the method at")
        self.refuse([("rows: [20, 40]", "rows: [20]")], "study.yaml:4:9: member", "are needed at the peak, and --memory has 1 kB",
                    more=["--memory", "1k"])
        self.refuse([("rows: [20, 40]", "rows: [20]"), ("batch_size: 8", "precision: fp32, batch_size: 8")], "study.yaml:4:9: member",
                    "or set save_memory: true or precision: bf16", more=["--memory", "1k"])
        self.refuse([("batch_size: 8", "adapter.rank: 4, batch_size: 8")], "study.yaml:8:21: member \"lora, mood", "/adapter.rank: the same setting is given at", "study.yaml:4:37 already")
        self.refuse([("/data}", "/nowhere}")], "study.yaml:7:", "no such file or folder")
        self.refuse([("/bert-tiny", "/bert-none")], "study.yaml:2:8: member \"lora, mood", "and 23 more: '", "bert-none': no such file")

    def test_rows_that_do_not_fit_are_refused_before_anything_is_trained(self):
        for more in ([], ["--check"]):
            self.refuse([("rows: [20, 40]", "rows: [20, 400]")], 'study.yaml:10:14: member "lora, mood, rows 400, seed 1, max_steps 8, learning_rate 1e-2" and 11 more: data.rows: ',
                        "has 60 rows, 400 were asked for", more=more)
            self.refuse([('"text:bad,good"', '"text:bad,fine"')], 'study.yaml:7:9: member "lora, mood, rows 20, seed 1', "and 23 more: ", 'unknown label "good"', more=more)
            self.refuse([("rows: [20, 40]", "seeds.rows: [1, 2]")], "study.yaml:10:16: member", "seeds.rows: found 1, and no rows are drawn by it", more=more)

    def test_a_folder_without_a_whole_study_tells_what_it_has(self):
        self.assert_refused(run("sweep", "table", self.root / "data"), 2, "holds no study.db, so no study of graft sweep --out")
        parts, small = self.dir / "parts", (("rows: [20, 40]", "rows: [20]"), ("[1, 2, 3]", "[1]"))
        self.assert_done(self.sweep(self.study(*small), parts, "--shard", "2/2"))
        for command in ("status", "table"):
            self.assert_refused(run("sweep", command, parts), 2, "holds no study.db, but shard-2-of-2.db: name one of them, or put all together with graft sweep join")
        searched = self.study(*small, ("together:\n  - {max_steps: [8, 12], learning_rate: [1e-2, 5e-3]}\n", "search:\n  seed: 100\n  settings: {max_steps: [1, 2]}\n"))
        self.assert_done(self.sweep(searched, self.dir / "searched", "--only-search"))
        self.assert_refused(run("sweep", "status", self.dir / "searched"), 2, "holds no study.db, but search.json, which has the search: no member was trained yet")

    def test_faults_of_a_search_have_a_place_and_nothing_is_written(self):
        def refuse(search, *parts, more=()):
            self.refuse([("together:\n  - {max_steps: [8, 12], learning_rate: [1e-2, 5e-3]}\n", "search:\n  seed: 100\n  " + search + "\n")], *parts, more=more)
        refuse("settings: {learning_rat: [1e-3]}", "study.yaml:14:28: search of \"lora, mood, rows 20\": ", "did you mean 'learning_rate'?")
        refuse("settings: {learning_rate: [1e-3, quick]}", "study.yaml:14:29: search of \"lora, mood, rows 20\": ", "/learning_rate: expected a number")
        refuse("settings: {learning_rate: [1e-3], adapter.rank: [4]}", "study.yaml:14:51: search of \"lora, mood, rows 20\": /adapter.rank: the same setting is given at",
               "study.yaml:4:37 already", more=["--check"])
        refuse("settings: {max_steps: [8, 9]}\n  halving: {setting: epochs, from: 1, to: 3}", "study.yaml:15:12: search of", "epochs change nothing")
        refuse("kind: random\n  tries: 2\n  settings: {max_steps: {low: 8, high: 12}}", "study.yaml:16:25: search of", "/max_steps: expected an integer in 0..")
        refuse("kind: random\n  tries: 2\n  settings: {max_steps: {low: 8, high: 12.5, scale: whole}}", "study.yaml:16:40: /search/settings/max_steps/high: of whole numbers expected one")
        refuse("settings: {seed: [1, 2]}", "study.yaml:14:20: /search/settings/seed: \"seed\" is nothing to choose")

    def test_a_method_that_does_not_fit_the_task_is_refused_before_anything_runs(self):
        task = self.dir / "go-on.yaml"
        task.write_text("name: go-on\nkind: generation\nprompt: text\ntarget: label\nmetrics: [perplexity]\n")
        self.refuse([('"text:bad,good"', str(task))], "study.yaml:7:9: member \"lora, mood, rows 20, seed 1",
                    "task \"go-on\": a bert model is an encoder and writes no text; take a decoder")

    def test_a_file_of_another_study_or_of_something_else_is_left_as_it_is(self):
        out = self.dir / "out"
        out.mkdir()
        (out / "study.db").write_text("my notes")
        self.assert_refused(self.sweep(self.study(), out), 2, "study.db", "nothing was written to it")
        self.assertEqual((out / "study.db").read_text(), "my notes")
        (out / "study.db").unlink()
        small = [("rows: [20, 40]", "rows: [20]"), ("[1, 2, 3]", "[1]")]
        self.assert_done(self.sweep(self.study(*small), out))
        before = support.tree_digest(out)
        self.assert_refused(self.sweep(self.study(*small, ("max_steps: [8, 12]", "max_steps: [9, 12]")), out), 2,
                            "holds another study than this one: its member 1 is")
        self.assertEqual(support.tree_digest(out), before)
        whole = (out / "study.db").read_bytes()
        (out / "study.db").write_bytes(whole[:len(whole) // 2])
        self.assert_refused(self.sweep(self.study(*small), out), 2, "is damaged")
        self.assertEqual((out / "study.db").read_bytes(), whole[:len(whole) // 2])

    def test_words_of_the_command(self):
        study = self.study()
        self.assert_refused(run("sweep", study), 2, "--out: missing")
        self.assert_refused(run("sweep"), 2, "sweep")
        self.assert_refused(self.sweep(study, self.dir / "out", "--shard", "9/8"), 2, "--shard: expected K/N")
        self.assert_refused(self.sweep(study, self.dir / "out", "--memory", "much"), 2, "--memory: expected bytes such as 8G")
        self.assert_refused(self.sweep(study, self.dir / "out", "--together", 0), 2, "--together")
        self.assert_refused(self.sweep(study, self.dir / "out", "--workers", 0), 2, "--workers")
        self.assert_refused(self.sweep(study, self.dir / "out", "--workers", "many"), 2, "--workers", "many")
        self.assert_refused(run("sweep", study, "--out"), 2, "--out")
        self.assert_refused(run("sweep", "tabel", "x"), 2, "did you mean 'table'?")
        self.assertNotIn("worker-process", run("sweep", "--help").stdout + run("sweep").stderr)
        self.assert_refused(run("sweep", "table", self.dir / "none.db"), 2, "none.db", "no such file")
        self.assert_refused(run("sweep", "status", self.root / "data" / "train.tsv"), 2, "no SQLite file")
        done = self.assert_done(run("sweep", study, "--check"))
        self.assertIn("moods: 24 members", done.stderr)
        self.assertRegex(done.stderr, r"together: 16 at most, in 2 groups, about \d+ MB of [0-9.]+ GB at the peak\ntime: about \d+s")
        done = self.assert_done(run("sweep", study, "--check", "--together", 5))
        self.assertIn("together: 5 at most, in 5 groups", done.stderr)


if __name__ == "__main__":
    support.main()
