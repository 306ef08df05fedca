"""graft predict and generate --data, cut in the middle: --resume goes on behind what was written, and the file becomes what one run makes.

Kills and full disks come from fault.cpp (GRAFT_FAULT), at a chosen system call.
"""

import fcntl
import json
import os
import shutil
import signal
import subprocess
import unittest

import support
from support import run
from test_generate import make_decoder

FAULT = os.environ.get("GRAFT_FAULT", "")
WINDOW = 1024   # rows between two commits of predict
ROWS = 2 * WINDOW + 150


@unittest.skipUnless(FAULT, "GRAFT_FAULT does not name the library")
class Resumed(support.SharedCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        support.make_model(cls.root / "model")
        make_decoder(cls.root / "gpt2")
        support.write_tsv(cls.root / "train.tsv", support.rows(40, 1))
        rows = [{"text": text, "label": label, "note": i} for i, (text, label) in enumerate(support.rows(ROWS, 2, longest=3))]
        (cls.root / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        (cls.root / "prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows[:40]))
        (cls.root / "go-on.yaml").write_text(support.GO_ON_TASK)
        (cls.root / "gated.yaml").write_text("edits:\n  - gate: {}\n    of: {lora: {sites: ['attn.v']}}\n")
        for out, adapter, seed in (("run", "lora", 1), ("other", "lora", 2), ("gated", "./gated.yaml", 1)):
            done = run("train", "--model", "model", "--task", "text:bad,good", "--data", "train.tsv", "--adapter", adapter, "--out", out, "--threads", 1,
                       "--quiet", "--set", "max_steps=3", "learning_rate=0.01", f"seed={seed}", cwd=cls.root)
            assert done.returncode == 0, done.stderr

    def setUp(self):
        super().setUp()
        self.out = self.dir / "out.jsonl"

    def command(self, *more, adapter="run", data="rows.jsonl", out=None):
        return ["predict", "--model", "model", "--adapter", f"{adapter}/adapter", "--data", data, "--out", out or self.out, "--threads", 1, *more]

    def launch(self, args, **fault):
        """With kill_at, full_at or count."""
        env = {**support.environment(), "LD_PRELOAD": FAULT, **{f"FAULT_{name.upper()}": str(value) for name, value in fault.items()}}
        return subprocess.run(support.command(*args), cwd=self.root, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              encoding="utf-8", timeout=120)

    def counted(self, args):
        """The finished process, and its system calls that change files."""
        done = self.assert_done(self.launch(args, count=self.dir / "count"))
        calls = int((self.dir / "count").read_text())
        (self.dir / "count").unlink()
        return done, calls

    def cut(self, args, call):
        self.assertEqual(self.launch(args, kill_at=call).returncode, -signal.SIGKILL)

    def files(self):
        return {path.name: path.read_bytes() for path in self.dir.iterdir()}

    def check_killed(self, args, moments):
        """Killed at those calls (from 1; below 1 counted from the end), each resumed run leaves what the whole one does."""
        whole, calls = self.counted(args)
        expected = self.files()
        for moment in moments:
            call = moment if moment > 0 else calls + moment
            with self.subTest(killed_at_call=call, of=calls):
                for path in self.dir.iterdir():
                    path.unlink()
                self.cut(args, call)
                done = self.assert_done(run(*args, "--resume", cwd=self.root))
                self.assertEqual(self.files(), expected)
                self.assertEqual(done.stdout, whole.stdout)

    # --- killed

    def test_killed_at_any_moment(self):
        first_commit, end = range(WINDOW + 2, WINDOW + 7), range(-7, 1)   # the last rows and commits, the file's way into its place
        self.check_killed(self.command(), [1, 500, *first_commit, 2 * WINDOW, *end])

    def test_formats_and_columns(self):
        for name, more in (("p.json", []), ("p.csv", []), ("p.tsv", ["--columns", "id,note,prediction"]), ("p.jsonl", ["--errors", "--columns", "note,gold"]),
                           ("p.json", ["--errors"])):
            with self.subTest(name=name, more=more):
                self.check_killed(self.command(*more, out=self.dir / name), [WINDOW + 200 if "--errors" not in more else 700, -3])
                for path in self.dir.iterdir():
                    path.unlink()

    def test_two_files(self):
        args = self.command("--records", self.dir / "records.jsonl", adapter="gated")
        self.check_killed(args, [WINDOW + 300, *range(-6, 1)])

    def test_generate(self):
        args = ["generate", "--model", "gpt2", "--task", "./go-on.yaml", "--data", "prompts.jsonl", "--batch", 2, "--temperature", 1, "--seed", 5, "--max-new-tokens", 4,
                "--threads", 1, "--out", self.out]
        self.check_killed(args, [15, 25, -3])

    def test_goes_on_where_it_stopped(self):
        args = self.command()
        self.cut(args, 2 * WINDOW + 30)
        self.assertFalse(self.out.exists())
        self.assertEqual(sorted(self.files()), [".out.jsonl.partial", ".out.jsonl.progress"])
        done, calls = self.counted([*args, "--resume"])
        self.assertLess(calls, ROWS - 2 * WINDOW + 20, "no row of the first two windows is written again")
        self.assertEqual(done.stdout, f"{ROWS:,} predictions in {self.out}\n")

    def test_a_line_of_progress_that_was_cut(self):
        args = self.command()
        self.counted(args)
        expected = self.files()
        self.out.unlink()
        self.cut(args, WINDOW + 60)
        with open(self.dir / ".out.jsonl.progress", "a", encoding="utf-8") as progress:
            progress.write('{"bytes":[9')
        self.assert_done(run(*args, "--resume", cwd=self.root))
        self.assertEqual(self.files(), expected)

    def test_skipped_rows(self):
        lines = (self.root / "rows.jsonl").read_text().splitlines()
        lines[3] = "{"
        lines[1500] = '{"text": null}'
        (self.dir / "bad.jsonl").write_text("\n".join(lines) + "\n")
        bad = (self.dir / "bad.jsonl").rename(self.root / "bad.jsonl")
        args = self.command("--on-error", "skip", "--skipped", self.dir / "skipped.jsonl", data=bad.name)
        self.check_killed(args, [WINDOW + 100, 2 * WINDOW + 60])
        self.assertEqual([json.loads(line)["id"] for line in (self.dir / "skipped.jsonl").read_text().splitlines()], [3, 1500])

    # --- a full disk

    def test_a_full_disk(self):
        args = self.command()
        self.counted(args)
        expected = self.files()
        self.out.unlink()
        self.assert_refused(self.launch(args, full_at=600), 3, str(self.out), "No space left on device")
        self.assertEqual(self.files(), {}, "nothing was whole")
        done = self.launch(args, full_at=WINDOW + 400)
        self.assert_refused(done, 3, str(self.out), "No space left on device", f"the answers to {WINDOW:,} rows are kept", "--resume")
        again = self.launch([*args, "--resume"], full_at=1)   # still full: nothing gets worse
        self.assert_refused(again, 3, str(self.out), "No space left on device", f"{WINDOW:,} rows are kept")
        self.assert_done(run(*args, "--resume", cwd=self.root))
        self.assertEqual(self.files(), expected)

    # --- what cannot be gone on with

    def test_what_differs_is_named(self):
        self.cut(self.command(), WINDOW + 60)
        before = self.files()
        (self.dir / "d").mkdir()
        changed = shutil.copy(self.root / "rows.jsonl", self.dir / "d")
        with open(changed, "a", encoding="utf-8") as file:
            file.write('{"text": "fine"}\n')
        shutil.copytree(self.root / "model", self.dir / "d/model")
        (self.dir / "d/model/vocab.txt").write_text("other")
        def named(*more, **settings):
            return self.command(*more, "--resume", **settings)
        for args, *parts in ((named(data=changed), "the content of --data has changed"), (named(adapter="other"), "what --adapter names has changed"),
                             (["predict", "--model", self.dir / "d/model", *named()[3:]], "what --model names has changed"),
                             (named("--precision", "bf16"), "--precision was fp32, now bf16"), (named("--columns", "id,note"), "--columns was not given, now [\"id\",\"note\"]"),
                             (named("--max-length", 5), "--max-length was", "now 5"), (named("--errors"), "--errors was not given, now given"),
                             (named("--format", "csv"), "--format was jsonl, now csv"), (named("--on-error", "skip"), "--on-error was stop, now skip"),
                             (named(adapter="other", data=changed), "--adapter", "--data")):
            with self.subTest(parts=parts):
                self.assert_refused(run(*args, cwd=self.root), 2, "--resume", str(self.out), *parts, "begin anew")
                self.assertEqual({path.name: path.read_bytes() for path in self.dir.glob(".*")}, before)
        self.assert_done(run(*named(), cwd=self.root))

    def test_a_flag_that_is_left_out_is_named(self):
        gated = self.command("--gate", "0.5", adapter="gated")
        self.cut(gated, WINDOW + 60)
        self.assert_refused(run(*self.command(adapter="gated"), "--resume", cwd=self.root), 2, "begun otherwise", "--gate was [\"0.5\"], now not given")
        self.assert_done(run(*gated, "--resume", cwd=self.root))

    def test_threads_belong_to_the_bits(self):
        args = self.command()
        self.cut(args, WINDOW + 60)
        self.assert_refused(run(*[2 if each == 1 else each for each in args], "--resume", cwd=self.root), 2, "--threads was 1, now 2")

    def test_streams_cannot_be_gone_on_with(self):
        self.assert_refused(run(*self.command("--resume", out="-"), cwd=self.root), 2, "--resume: '/dev/stdout' keeps nothing to go on with")
        self.assert_refused(run(*self.command("--resume", data="-"), cwd=self.root), 2, "--resume", "--data '/dev/stdin'", "came once")

    def test_a_part_that_lost_bytes(self):
        args = self.command()
        self.cut(args, WINDOW + 60)
        os.truncate(self.dir / ".out.jsonl.partial", 100)
        self.assert_refused(run(*args, "--resume", cwd=self.root), 2, ".out.jsonl.partial", "found 100", "begin anew")

    def test_one_process_at_a_time(self):
        args = self.command()
        self.cut(args, WINDOW + 60)
        with open(self.dir / ".out.jsonl.partial", "rb") as held:
            fcntl.flock(held, fcntl.LOCK_EX)
            before = self.files()
            for more in ([], ["--resume"]):
                self.assert_refused(run(*args, *more, cwd=self.root), 3, str(self.out), "another process is writing it")
            self.assertEqual(self.files(), before)

    # --- without a beginning, without --resume

    def test_nothing_to_go_on_with(self):
        done = self.assert_done(run(*self.command("--resume"), cwd=self.root))
        self.assertIn(f"--resume: nothing of '{self.out}' is there; beginning with the first row", done.stderr)
        self.assertEqual(len(self.out.read_text().splitlines()), ROWS)

    def test_without_the_flag_it_begins_anew(self):
        args = self.command("--quiet")
        self.cut(args, WINDOW + 60)
        done = self.assert_done(run(*args, cwd=self.root))
        self.assertIn(f"'{self.out}' was begun before and cut; beginning anew, without --resume", done.stderr)
        self.assertEqual(list(self.files()), ["out.jsonl"])
        self.assertEqual(len(self.out.read_text().splitlines()), ROWS)

    # --- a fault that only an answer shows

    def test_a_late_fault_keeps_the_answers_before_it(self):
        rows = [{"text": "fine great", "answer": "kind"}] * 20
        rows[17] = {"text": " ".join(support.WORDS[:30]), "answer": "kind"}   # that leaves fewer words than are asked for
        (self.root / "many.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        args = ["generate", "--model", "gpt2", "--task", "./go-on.yaml", "--data", "many.jsonl", "--batch", 2, "--no-repeat-ngram", 1, "--min-new-tokens", 9,
                "--max-new-tokens", 9, "--threads", 1, "--out", self.out]
        for more in ([], ["--resume"]):
            self.assert_refused(run(*args, *more, cwd=self.root), 2, "no token is left to go on with", f"the answers to 16 rows are kept in '{self.dir / '.out.jsonl.partial'}'")
            self.assertEqual(sorted(self.files()), [".out.jsonl.partial", ".out.jsonl.progress"])
            self.assertEqual(len((self.dir / ".out.jsonl.partial").read_text().splitlines()), 16)
        for name in self.files():
            (self.dir / name).unlink()
        self.assert_refused(run(*[16 if each == 2 else each for each in args], cwd=self.root), 2, "no token is left")   # all in one window
        self.assertEqual(self.files(), {}, "nothing was whole")


if __name__ == "__main__":
    support.main()
