"""graft report: one page without network, whose numbers are those of graft sweep table; opened in a browser where Chromium is installed."""

import csv
import html.parser
import io
import json
import re
import shutil
import subprocess
import unittest

import support
from support import run

CHROMIUM = shutil.which("chromium")

STUDY = """\
study: moods </script><b>
model: {root}/bert-tiny
methods: {{lora: lora, head: head}}
tasks: {{mood: {{task: "text:bad,good", data: {root}/data}}}}
set: {{max_steps: 4, batch_size: 8}}
grid: {{seed: [1, 2, 3]}}
"""


class Page(html.parser.HTMLParser):
    """Addresses that a page refers to, the text of its data, and the cells of its tables in order."""

    def __init__(self, text):
        super().__init__()
        self.addresses, self.tables, self.data, self.into = [], [], "", None
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.addresses += [value for key, value in attributes.items() if key in ("src", "href")]
        self.into = "data" if attributes.get("id") == "data" else tag if tag in ("td", "button") else self.into
        if tag == "table":
            self.tables.append([])
        elif tag == "tr" and self.tables:
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")

    def handle_endtag(self, tag):
        self.into = None

    def handle_data(self, text):
        if self.into == "data":
            self.data += text
        elif self.into in ("td", "button") and self.tables and self.tables[-1] and self.tables[-1][-1]:
            self.tables[-1][-1][-1] += text


class Report(support.SharedCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        support.make_model(cls.root / "bert-tiny")
        (cls.root / "data").mkdir()
        support.write_tsv(cls.root / "data" / "train.tsv", support.rows(40, 1))
        support.write_tsv(cls.root / "data" / "dev.tsv", support.rows(20, 2))
        (cls.root / "study.yaml").write_text(STUDY.format(root=cls.root))
        for args in (["sweep", cls.root / "study.yaml", "--out", cls.root / "out", "--threads", 1, "--quiet"],
                     ["report", cls.root / "out", "--out", cls.root / "report.html"]):
            done = run(*args)
            assert done.returncode == 0, done.stderr
        cls.text = (cls.root / "report.html").read_text()

    def table(self, part):
        done = self.assert_done(run("sweep", "table", self.root / "out", "--format", "csv", "--part", part))
        return list(csv.reader(io.StringIO(done.stdout)))

    def test_holds_everything_and_asks_for_nothing(self):
        page = Page(self.text)
        self.assertEqual(page.addresses, [])
        own = re.sub(r"<script>.*?</script>", "", self.text, count=1, flags=re.DOTALL)   # the library names its licence
        self.assertIsNone(re.search(r"https?://|@import|url\(", own))
        (study,) = json.loads(page.data)["studies"]
        self.assertEqual(study["name"], "moods </script><b>")
        self.assertEqual(len(study["members"]), 6)
        for part in ("results", "comparisons", "ranks"):
            self.assertEqual(list(csv.reader(io.StringIO(study[part]["csv"]))), self.table(part))
        self.assertEqual(json.loads(study["members"][0]["settings"])["seed"], 1)

    def test_runs_that_no_study_planned(self):
        runs = sorted((self.root / "out" / "runs").iterdir())
        self.assert_done(run("report", *runs, "--out", self.dir / "runs.html"))
        (study,) = json.loads(Page((self.dir / "runs.html").read_text()).data)["studies"]
        self.assertEqual(study["results"]["header"][:2], ["method", "task"])
        known = {row[0]: row[4] for row in self.table("results")[1:]}
        for row in csv.DictReader(io.StringIO(study["results"]["csv"])):
            self.assertAlmostEqual(float(row["mean"]), float(known[row["method"]]), places=12)
            self.assertEqual(row["members"], "3")
        self.assert_refused(run("report", runs[0], runs[0], "--out", self.dir / "twice.html"), 2, "is the same run as")

    def test_faults(self):
        self.assert_refused(run("report", self.root / "out", "--out", self.dir / "r.html", "--metric", "acuracy"), 2, "did you mean 'accuracy'?")
        self.assert_refused(run("report", self.dir / "none", "--out", self.dir / "r.html"), 2, "no such file")
        self.assertFalse((self.dir / "r.html").exists())

    @unittest.skipUnless(CHROMIUM, "needs chromium")
    def test_in_a_browser(self):
        done = subprocess.run([CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", f"--user-data-dir={self.dir}/profile",
                               "--virtual-time-budget=5000", "--enable-logging=stderr", "--dump-dom", f"file://{self.root}/report.html"],
                              capture_output=True, text=True, timeout=300)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual([line for line in done.stderr.splitlines() if "CONSOLE" in line], [])
        results, comparisons, ranks, members = Page(done.stdout).tables
        header, *rows = self.table("results")
        self.assertEqual(len(results), 1 + len(rows))
        for shown, row in zip(results[1:], rows):
            known = dict(zip(header, row))
            mean = shown[results[0].index("mean")]
            self.assertAlmostEqual(float(mean.split(" ")[0]), float(known["mean"]), delta=0.00006)   # four digits are shown
            self.assertEqual(shown[0], known["method"])
        self.assertEqual(len(comparisons), 2)
        self.assertEqual(len(ranks), 3)
        self.assertEqual([row[1] for row in members], ["state"] + 6 * ["done"])
        if "echarts" in self.text[:self.text.index('id="data"')]:
            self.assertEqual(done.stdout.count('class="chart"'), 3)
            drawn = re.findall(r'<div class="chart" role="img" aria-label="([^"]*)".*?<svg.*?</svg>', done.stdout, re.DOTALL)
            self.assertEqual(len(drawn), 3, drawn)
            self.assertTrue(any("lora, mood" in text for text in re.findall(r"<text[^>]*>([^<]*)</text>", done.stdout)))
        self.assertIn("<h2>moods &lt;/script&gt;&lt;b&gt;</h2>", done.stdout)


if __name__ == "__main__":
    support.main()
