"""Adapters that earlier versions wrote answer as they did: tests/golden/old_adapters, by graft 0.1.0 before its sites, tensors and
options were typed. NAME/ is an adapter of the preset NAME on examples/toy, NAME.jsonl its answers to the first rows of dev.tsv.
"""
import json

import support

OLD = support.SOURCE / "tests/golden/old_adapters"
TOY = support.SOURCE / "examples/toy"
# Float32 sums of a few hundred numbers of size one; another processor adds them in another order.
CLOSE = 1e-5


class OldAdapters(support.Case):
    def done(self, *args):
        return self.assert_done(support.run(*args, cwd=self.dir))

    def test_each_answers_as_it_did(self):
        names = sorted(path.name for path in OLD.iterdir() if path.is_dir())
        self.assertEqual(len(names), 7)
        for name in names:
            with self.subTest(adapter=name):
                out = self.dir / f"{name}.jsonl"
                self.done("predict", "--model", TOY / "model", "--adapter", OLD / name, "--data", TOY / "dev.tsv", "--out", out, "--threads", 1, "--quiet")
                expected = [json.loads(line) for line in (OLD / f"{name}.jsonl").read_text().splitlines()]
                found = [json.loads(line) for line in out.read_text().splitlines()][:len(expected)]
                self.assertEqual(len(expected), 20)
                for before, now in zip(expected, found):
                    self.assertEqual(list(now), list(before))
                    for old, new in zip(before["logits"], now["logits"]):
                        self.assertAlmostEqual(new, old, delta=CLOSE)


if __name__ == "__main__":
    support.main()
