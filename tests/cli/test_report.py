"""graft report: one page without network, whose numbers are those of graft sweep table; opened in a browser where Chromium is installed."""

import csv
import html.parser
import io
import json
import math
import re
import shutil
import statistics
import subprocess
import unittest

import support
from support import run

CHROMIUM = shutil.which("chromium")

STUDY = """\
study: moods </script><b>
model: {root}/bert-tiny
methods: {{lora: lora, head: head, gated: {{adapter: unipelt-ap, set: {{mlp: 8, record.rows: true, record.changes: true}}}}}}
tasks: {{mood: {{task: "text:bad,good", data: {root}/data}}}}
set: {{max_steps: 4, batch_size: 8, max_length: 32, evaluate_every: 2 steps}}
grid: {{seed: [1, 2, 3]}}
search:
  seed: 100
  settings: {{learning_rate: [1e-3, 1e-2]}}
"""

# Presses every button and opens every table of figures; what would be saved goes into the page instead.
PRESS = """
<script>
const kept = [];
URL.createObjectURL = blob => (kept.push(blob.text()), "data:,");
HTMLAnchorElement.prototype.click = function() { kept.push(this.download); };
for (const button of document.querySelectorAll("button")) { button.focus(); if (document.activeElement !== button) throw Error("no focus: " + button.textContent); button.click(); }
for (const details of document.querySelectorAll("details.figures")) details.open = true;
for (const select of document.querySelectorAll("select")) for (const option of select.options) { select.value = option.value; select.dispatchEvent(new Event("input")); }
for (const chart of document.querySelectorAll("[role=img]")) if (!chart.ariaLabel) throw Error("a chart without a label");
Promise.all(kept).then(all => { const out = document.createElement("script"); out.type = "application/json"; out.id = "kept"; out.textContent = JSON.stringify(all).replaceAll("<", "\\\\u003c"); document.body.append(out); });
</script>
"""


class Page(html.parser.HTMLParser):
    """Addresses that a page refers to, the text of its data, and the cells of its tables in order."""

    def __init__(self, text):
        super().__init__()
        self.addresses, self.tables, self.data, self.into, self.is_open = [], [], "", None, False
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.addresses += [value for key, value in attributes.items() if key in ("src", "href")]
        self.into = "data" if attributes.get("id") == "data" else tag if tag in ("td", "button") else self.into
        if tag == "table":
            self.tables.append([])
            self.is_open = True
        elif tag == "tr" and self.tables:
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")

    def handle_endtag(self, tag):
        self.into = None
        if tag == "table":
            self.is_open = False

    def handle_data(self, text):
        if self.into == "data":
            self.data += text
        elif self.into in ("td", "button") and self.is_open and self.tables[-1] and self.tables[-1][-1]:
            self.tables[-1][-1][-1] += text


class ReportCase(support.SharedCase):
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


class Report(ReportCase):
    def test_holds_everything_and_asks_for_nothing(self):
        page = Page(self.text)
        self.assertEqual(page.addresses, ["#studies"])
        own = re.sub(r"<script>.*?</script>", "", self.text, count=1, flags=re.DOTALL)   # the library names its licence
        self.assertIsNone(re.search(r"https?://|@import|url\(", own))
        (study,) = json.loads(page.data)["studies"]
        self.assertEqual(study["name"], "moods </script><b>")
        self.assertEqual(len(study["members"]), 9)
        for part in ("results", "comparisons", "ranks", "tries"):
            self.assertEqual(list(csv.reader(io.StringIO(study[part]["csv"]))), self.table(part))
        self.assertEqual(json.loads(study["members"][0]["settings"])["seed"], 1)

    def test_curves_are_those_of_the_logs(self):
        (study,) = json.loads(Page(self.text).data)["studies"]
        events = {name: [support.log_events(next((self.root / "out/runs").glob(f"{name}_mood_seed-{seed}"))) for seed in (1, 2, 3)] for name in ("lora", "head", "gated")}
        self.assertEqual(len(study["curves"]), 3 * 3)   # train loss, eval loss, eval accuracy
        for curve in study["curves"]:
            side, metric = curve["name"].split(" ")
            self.assertEqual(curve["seeds"], ["1", "2", "3"])
            kind = {"train": "step", "eval": "evaluate"}[side]
            logs = [[event for event in log if event["event"] == kind] for log in events[curve["cell"].split(", ")[0]]]
            self.assertEqual([point[0] for point in curve["points"]], [1, 2, 3, 4] if side == "train" else [2, 4])
            for (step, mean, low, high, *values), *known in zip(curve["points"], *logs):
                self.assertEqual({event["step"] for event in known}, {step})
                self.assertEqual(values, [event[metric] for event in known])
                self.assertAlmostEqual(mean, statistics.fmean(values), places=12)
                half = 4.302652729911275 * statistics.stdev(values) / math.sqrt(3)   # Student's t of 2 degrees at 0.975
                self.assertAlmostEqual(low, mean - half, places=9)
                self.assertAlmostEqual(high, mean + half, places=9)

    def test_a_curve_of_one_run_has_no_interval(self):
        run_ = sorted((self.root / "out" / "runs").iterdir())[0]
        self.assert_done(run("report", run_, "--out", self.dir / "one.html"))
        (study,) = json.loads(Page((self.dir / "one.html").read_text()).data)["studies"]
        self.assertEqual([(curve["name"], len(curve["points"])) for curve in study["curves"]], [("eval accuracy", 2), ("eval loss", 2), ("train loss", 4)])
        for curve in study["curves"]:
            for _, mean, low, high, value in curve["points"]:
                self.assertEqual((low, high, value), (None, None, mean))

    def test_runs_that_no_study_planned(self):
        runs = sorted((self.root / "out" / "runs").iterdir())
        self.assert_done(run("report", *runs, "--out", self.dir / "runs.html"))
        (study,) = json.loads(Page((self.dir / "runs.html").read_text()).data)["studies"]
        self.assertEqual(study["results"]["header"][:2], ["method", "task"])
        known = {row[0]: row[4] for row in self.table("results")[1:]}
        rows = list(csv.DictReader(io.StringIO(study["results"]["csv"])))
        self.assertEqual(len(rows), 3)
        for row in rows:
            self.assertAlmostEqual(float(row["mean"]), float(known[{"unipelt-ap": "gated"}.get(row["method"], row["method"])]), places=12)
            self.assertEqual(row["members"], "3")
        again = run("report", runs[0], f"{runs[0]}/", "--out", self.dir / "twice.html")
        self.assert_refused(again, 2, f"'{runs[0]}/': is given twice; leave one out")
        shutil.copytree(runs[0], self.dir / "copy")
        self.assert_refused(run("report", runs[0], self.dir / "copy", "--out", self.dir / "twice.html"), 2, "is the same run as", "adapter_name")
        (self.dir / "copy/metrics.json").unlink()
        unfinished = run("report", runs[1], self.dir / "copy", "--out", self.dir / "twice.html")
        self.assert_refused(unfinished, 2, f"'{self.dir / 'copy'}': the run is not finished", "graft train --resume goes on with it, or leave it out")

    def test_options_in_which_runs_of_a_preset_differ_are_factors(self):
        for rank in (2, 4):
            self.assert_done(run("train", "--model", self.root / "bert-tiny", "--task", "text:bad,good", "--data", self.root / "data", "--adapter", "lora", "--out", self.dir / f"r{rank}",
                                 "--threads", 1, "--quiet", "--set", f"rank={rank}", "max_steps=1", "dropout=0.1"))
        self.assert_done(run("report", self.dir / "r2", self.dir / "r4", "--out", self.dir / "ranks.html"))
        (study,) = json.loads(Page((self.dir / "ranks.html").read_text()).data)["studies"]
        self.assertEqual(study["results"]["header"][:3], ["method", "task", "adapter.rank"])
        self.assertEqual([row["adapter.rank"] for row in csv.DictReader(io.StringIO(study["results"]["csv"]))], ["2", "4"])

    def test_faults(self):
        self.assert_refused(run("report", self.root / "out", "--out", self.dir / "r.html", "--metric", "acuracy"), 2, "did you mean 'accuracy'?")
        self.assert_refused(run("report", self.dir / "none", "--out", self.dir / "r.html"), 2, "no such file")
        (self.dir / "study").mkdir()
        for file in (self.root / "out").glob("*.*"):
            shutil.copy(file, self.dir / "study")
        kept = json.loads((self.dir / "study/search.json").read_text())
        kept["searches"][0]["trials"][0]["scores"] = "0.5"   # a page could not count it
        (self.dir / "study/search.json").write_text(json.dumps(kept))
        self.assert_refused(run("report", self.dir / "study", "--out", self.dir / "r.html"), 2, "search.json", "damaged: /searches/0/trials/0/scores: expected a list")
        self.assertFalse((self.dir / "r.html").exists())


@unittest.skipUnless(CHROMIUM, "needs chromium")
class Browser(ReportCase):
    def open(self, page):
        done = subprocess.run([CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", f"--user-data-dir={self.dir}/profile",
                               "--virtual-time-budget=5000", "--enable-logging=stderr", "--dump-dom", f"file://{page}"], capture_output=True, text=True, timeout=300)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual([line for line in done.stderr.splitlines() if "CONSOLE" in line], [])
        return done.stdout

    def test_in_a_browser(self):
        shown_page = self.open(self.root / "report.html")
        results, comparisons, matrix, ranks, tries, search, members = Page(shown_page).tables
        header, *rows = self.table("results")
        self.assertEqual(len(results), 1 + len(rows))
        for shown, row in zip(results[1:], rows):
            known = dict(zip(header, row))
            mean = shown[results[0].index("mean")]
            self.assertAlmostEqual(float(mean.split(" ")[0]), float(known["mean"]), delta=0.00006)   # four digits are shown
            self.assertEqual(shown[0], known["method"])
        self.assertEqual(len(comparisons), 4)
        known = {(row["first"], row["second"]): row for row in csv.DictReader(io.StringIO("\n".join(map(",".join, self.table("comparisons")))))}
        names = [re.sub("<.*", "", name) for name in ("lora", "head", "gated")]
        for row, name in zip(matrix[1:], names):
            for cell, other in zip(row[1:], names):
                if name == other:
                    self.assertEqual(cell, "")
                    continue
                pair, sign = (known[name, other], 1) if (name, other) in known else (known[other, name], -1)
                mean, p = re.fullmatch(r"([+-]?[\d.]+) \(p ([\d.e-]+)\)", cell).groups()
                self.assertAlmostEqual(float(mean), sign * float(pair["mean"]), delta=0.00006)
                self.assertAlmostEqual(float(p), float(pair["holm_p"]), delta=0.005)
        self.assertEqual(len(ranks), 4)
        self.assertEqual(len(tries), 4)
        self.assertEqual([row[6] for row in search[1:]].count("chosen"), 3)
        self.assertEqual(len(search), 1 + 3 * 2)
        self.assertEqual([row[1] for row in members], ["state"] + 9 * ["done"])
        if "echarts" in self.text[:self.text.index('id="data"')]:
            drawn = re.findall(r'<div class="chart" role="img" aria-label="([^"]*)".*?<svg.*?</svg>', shown_page, re.DOTALL)
            self.assertEqual(drawn, ["Scores: accuracy", "Scores against cost: accuracy", "Learning curves", "Reliability", "Gates", "Size of changes", "Values of rows"])
            curves = re.search(r'aria-label="Learning curves".*?(<svg.*?</svg>)', shown_page, re.DOTALL).group(1)
            self.assertEqual(len(re.findall('fill-opacity="0.15"', curves)), 3, "a band a cell")
            self.assertEqual(len(set(re.findall('stroke-dasharray="([^"]*)"', curves))), 4, "of three cells' lines one is whole; a band's dashes are finer")
            self.assertTrue(any("lora, mood" in text for text in re.findall(r"<text[^>]*>([^<]*)</text>", shown_page)))
        self.assertIn("<h2>moods &lt;/script&gt;&lt;b&gt;</h2>", shown_page)

    def test_every_button_by_keyboard(self):
        (self.dir / "pressed.html").write_text(PRESS.join(self.text.rsplit("</body>", 1)))
        page = self.open(self.dir / "pressed.html")
        kept = json.loads(re.search(r'<script type="application/json" id="kept">(.*?)</script>', page, re.DOTALL).group(1))
        files = dict(zip(kept[1::2], kept[0::2]))
        study = "moods </script><b>"
        (data,) = json.loads(Page(self.text).data)["studies"]
        self.assertEqual(files[f"{study}-results.csv"], data["results"]["csv"])
        pairs = list(csv.DictReader(io.StringIO(files[f"{study}-pairs.csv"])))
        self.assertEqual([float(pair["mean"]) for pair in pairs], [pair["mean"] for pair in data["pairs"]])
        if "echarts" not in self.text[:self.text.index('id="data"')]:
            return
        figures = [name for name in files if name.endswith(".svg")]
        self.assertEqual(len(figures), 7)
        for name in figures:
            self.assertTrue(files[name].startswith("<svg"), name)
            self.assertIn(name[:-4] + ".csv", files)
        curves = list(csv.DictReader(io.StringIO(files[f"{study}-curves.csv"])))
        self.assertEqual(list(curves[0]), ["cell", "curve", "step", "mean", "low", "high", "seed 1", "seed 2", "seed 3"])
        known = [(curve["cell"], curve["name"], *point) for curve in data["curves"] for point in curve["points"]]
        self.assertEqual([(row["cell"], row["curve"], *map(float, list(row.values())[2:])) for row in curves], known)
        last = re.search(r'aria-label="Learning curves".*?(<svg.*?</svg>)', page, re.DOTALL).group(1)   # every list is at its last choice: bands and runs
        self.assertEqual(len(re.findall('fill-opacity="0.15"', last)), 3)
        self.assertEqual(len(re.findall('<path[^>]*stroke-width="1.5"', last)), 3 * 3, "a line a run")
        bins = list(csv.DictReader(io.StringIO(files[f"{study}-reliability.csv"])))
        known = [bin_ for one in data["recorded"]["reliability"] for bin_ in one["bins"]]
        self.assertEqual([float(row["accuracy"]) if row["accuracy"] else None for row in bins], [bin_[4] for bin_ in known])
        self.assertEqual(sum(float(row["count"]) for row in bins), 9 * 20)
        gates = list(csv.DictReader(io.StringIO(files[f"{study}-gate-map.csv"])))
        self.assertEqual(len(gates), 4)
        summaries = [json.loads((run_ / "records.json").read_text())["eval"] for run_ in sorted((self.root / "out/runs").glob("gated*"))]
        for row in gates:
            self.assertAlmostEqual(float(row["mean"]), sum(summary[row["name"]]["mean"][0] for summary in summaries) / 3, places=6)
        self.assertEqual(page.count('<details class="figures" open="">'), 7)


if __name__ == "__main__":
    support.main()
