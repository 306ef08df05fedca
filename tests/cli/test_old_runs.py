"""Runs that earlier versions began go on: tests/golden/old_runs, by graft 0.1.0 before its lanes had keys of their own. NAME/ is a
run of the preset NAME on examples/toy, stopped by Ctrl-C after a few of its 60 steps; NAME.losses.json has the loss of every step of
the same run, never stopped. Since then AdaMix's second pass draws masks of its own for attention: what it was given then differs
from the first resumed step on.
"""
import json
import shutil

import support

OLD = support.SOURCE / "tests/golden/old_runs"
TOY = support.SOURCE / "examples/toy"
# Float32 sums; what another processor adds in another order grows over 60 steps. Another draw of dropout moves a loss by 1e-2.
CLOSE = {"lora": 1e-3, "adamix": 0.2}
STOPPED_AT = 4  # the adamix run; what the log says of these steps stays


class OldRuns(support.Case):
    def test_each_goes_on_as_it_would_have(self):
        shutil.copytree(TOY, self.dir / "toy")
        for name in ("lora", "adamix"):
            with self.subTest(run=name):
                shutil.copytree(OLD / name, self.dir / name)
                self.assert_done(support.run("train", "--resume", name, "--threads", 1, "--quiet", cwd=self.dir))
                log = [json.loads(line) for line in (self.dir / name / "log.jsonl").read_text().splitlines()]
                losses = [event["loss"] for event in log if event["event"] == "step"]
                expected = json.loads((OLD / f"{name}.losses.json").read_text())
                self.assertEqual(len(losses), len(expected))
                for step, (found, before) in enumerate(zip(losses, expected), 1):
                    close = CLOSE["lora"] if step <= STOPPED_AT else CLOSE[name]
                    self.assertAlmostEqual(found, before, delta=close, msg=f"{name}, step {step}")


if __name__ == "__main__":
    support.main()
