"""Tests of tools/demo/prepare_mail.py on made-up messages. Run: python3 -m unittest discover -s tests/tools"""
import base64
import contextlib
import io
import json
import pathlib
import random
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "tools" / "demo"))
import mail_text  # noqa: E402
import prepare_mail  # noqa: E402


def message(body, subject="Hello", **headers):
    lines = [f"Subject: {subject}"] + [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\n".join(lines).encode() + b"\n\n" + (body if isinstance(body, bytes) else body.encode())


def text_of(data):
    parsed = mail_text.parse_message(data, tidy=prepare_mail.drop_footers)
    return prepare_mail.clean_subject(parsed.subject), prepare_mail.clean_body(parsed.body), parsed.notes


class Parsing(unittest.TestCase):
    def test_plain(self):
        self.assertEqual(text_of(message("One.\r\n\r\n\r\n\r\nTwo. \n")), ("Hello", "One.\n\nTwo.", set()))

    def test_alternative_prefers_plain_unless_blank(self):
        def alternative(plain):
            return message(f"--b\nContent-Type: text/plain\n\n{plain}\n--b\nContent-Type: text/html\n\n<p>rich</p>\n--b--\n",
                           MIME_Version="1.0", Content_Type='multipart/alternative; boundary="b"')
        self.assertEqual(text_of(alternative("plain"))[1], "plain")
        self.assertEqual(text_of(alternative("  "))[1], "rich")

    def test_mixed_takes_all_texts_and_no_attachment(self):
        data = message("--b\n\nfirst\n--b\nContent-Type: text/plain\nContent-Disposition: attachment\n\nhidden\n--b\n"
                       "Content-Type: image/gif\nContent-Transfer-Encoding: base64\n\nR0lGODlh\n--b\nContent-Type: text/html\n\n<b>last</b>\n--b--\n",
                       MIME_Version="1.0", Content_Type="multipart/mixed; boundary=b")
        _, body, notes = text_of(data)
        self.assertEqual(body, "first\nlast")
        self.assertEqual(notes, {"attachment left out"})

    def test_forwarded_message_counts_without_its_headers(self):
        data = message("--b\nContent-Type: message/rfc822\n\nReceived: from leak\nSubject: inner\n\ninner body\n--b--\n",
                       MIME_Version="1.0", Content_Type="multipart/mixed; boundary=b")
        self.assertEqual(text_of(data)[1], "inner body")

    def test_base64_with_a_footer_behind(self):
        encoded = base64.encodebytes("Grüße aus Köln".encode()).decode()
        kind = {"Content_Type": "text/plain; charset=utf-8", "Content_Transfer_Encoding": "base64"}
        self.assertEqual(text_of(message(encoded, **kind))[1], "Grüße aus Köln")
        _, body, notes = text_of(message(encoded + "\n-- \nA list footer, not encoded.\n", **kind))
        self.assertEqual(body, "Grüße aus Köln")
        self.assertIn("base64 mended", notes)
        self.assertEqual(text_of(message("QUJDR", **kind))[1], "ABC")  # cut short

    def test_quoted_printable(self):
        data = message("caf=E9 =3D long=\nline", Content_Type="text/plain; charset=iso-8859-1", Content_Transfer_Encoding="quoted-printable")
        self.assertEqual(text_of(data)[1], "café = longline")

    def test_html_only(self):
        html = ("<html><head><title>T</title><style>p {}</style></head><body><!-- c --><p>Buy&nbsp;now &amp; save</p><script>leak()</script>"
                "<table><tr><td>a</td><td>b</td></tr></table>line<br>two</body></html>")
        self.assertEqual(text_of(message(html, Content_Type="text/html"))[1], "Buy now & save\n\na b\n\nline\ntwo")
        _, body, notes = text_of(message(html))  # calls itself plain
        self.assertEqual(body, "Buy now & save\n\na b\n\nline\ntwo")
        self.assertEqual(notes, {"HTML in a plain part"})

    def test_broken_html_keeps_its_text(self):
        for source in ("<p>before<script>var x; <b>after", "<p>before<![foo bar]> <b>after", "before <title>after", "before <b after"):
            _, body, _ = text_of(message(source, Content_Type="text/html"))
            self.assertIn("before", body, source)
        self.assertIn("after", text_of(message("<p>before<script> <b>after", Content_Type="text/html"))[1])

    def test_charsets(self):
        for charset, data, text, note in (
                ("utf-8", "naïve".encode(), "naïve", set()),
                ("iso-8859-1", b"price \x80 5 \x96 now", "price € 5 – now", set()),  # Windows-1252 under a false name, as everywhere
                ("us-ascii", "naïve".encode(), "naïve", {"charset mended"}),
                ("default_charset", b"caf\xe9", "café", {"charset mended"}),
                ("no-such-charset", "naïve".encode(), "naïve", {"charset mended"}),
                ("CHINESEBIG5", "中文".encode("big5"), "中文", set()),
                ("utf-8", b"caf\xe9", "café", {"charset mended"})):
            with self.subTest(charset=charset, data=data):
                self.assertEqual(text_of(message(data, Content_Type=f'text/plain; charset="{charset}"'))[1:], (text, note))

    def test_subjects(self):
        for raw, text in (("=?iso-8859-1?Q?Caf=E9?= =?utf-8?B?w7xiZXI=?=", "Caféüber"), ("a\n folded one", "a folded one"),
                          ("=?no-such?Q?x?=", "x"), ("Re: [ILUG] Re: [OT] cars", "Re: Re: cars"), ("*****SPAM***** Win", "Win"),
                          ("zzzz,Save now", "<name>,Save now"), ("", "")):
            with self.subTest(raw=raw):
                self.assertEqual(text_of(message("x", subject=raw))[0], text)
        self.assertEqual(text_of(b"Subject: caf\xe9 now\n\nx")[0], "café now")
        self.assertEqual(text_of(b"From: a\n\nx")[0], "")


class Leaks(unittest.TestCase):
    def test_headers_are_left_out(self):
        subject, body, _ = text_of(message("body", X_Spam_Status="Yes, hits=9", List_Id="ilug", Received="from leak", Date="Mon, 1 Jul 2002"))
        self.assertEqual((subject, body), ("Hello", "body"))

    def test_footers_and_marks(self):
        for leak in ("_" * 47 + "\nRazor-users mailing list\nRazor-users@lists.sourceforge.net\nhttps://lists.sourceforge.net/lists/listinfo/razor-users\n",
                     "_" * 47 + "\nhttp://xent.com/mailman/listinfo/fork\n",
                     "-" * 55 + "\nThis sf.net email is sponsored by:ThinkGeek\nWelcome to geek heaven.\nhttp://thinkgeek.com/sf\n",
                     "-- \nIrish Linux Users' Group: ilug@linux.ie\nhttp://www.linux.ie/mailman/listinfo/ilug for (un)subscription information.\n"
                     "List maintainer: listmaster@linux.ie\n",
                     "> " + "_" * 47 + "\n> Exmh-users mailing list\n> Exmh-users@redhat.com\n> https://listman.redhat.com/mailman/listinfo/exmh-users\n",
                     "------------------------ Yahoo! Groups Sponsor ---------------------~-->\n4 DVDs Free +s&p Join Now\nhttp://x\n"
                     "---------------------------------------------------------------------~->\n",
                     "SPAM: Content analysis details:   (5.30 hits, 5 required)\nSPAM: \n",
                     "-----BEGIN PGP SIGNATURE-----\nVersion: GnuPG\n\nabc=\n-----END PGP SIGNATURE-----\n",
                     "--DeathToSpamDeathToSpamDeathToSpam--\n"):
            with self.subTest(leak=leak):
                self.assertEqual(text_of(message("before\n\n" + leak + "\nafter"))[1], "before\n\nafter")
                page = text_of(message("<html><p>before</p></html>\n\n" + leak, Content_Type="text/html"))[1]
                self.assertEqual(page, "before")
        self.assertEqual(text_of(message("URL: http://x/\nDate: Not supplied\n\nnews"))[1], "news")

    def test_masks(self):
        self.assertEqual(text_of(message("Dear zzzz@spamassassin.taint.org, mail a.b+c@d.example or see jmason.org"))[1],
                         "Dear <address>, mail <address> or see <host>")

    def test_content_stays(self):
        body = "----------\nRule above.\n--\nJane\nOn Monday you wrote:\n> quoted\nhttp://example.org/"
        self.assertEqual(text_of(message(body, subject="Re: plans"))[:2], ("Re: plans", body))

    def test_footers_are_searched_in_linear_time(self):
        prepare_mail.clean_body((">" * 400 + "\n") * 400 + "_" * 20000)  # took hours with a nested repeat


class Duplicates(unittest.TestCase):
    def test_pairs_equal_the_quadratic_search(self):
        for seed in range(30):
            source = random.Random(seed)
            sets = [set(source.sample(range(40), source.randint(1, 15))) for _ in range(40)]
            expected = [(i, j) for j in range(len(sets)) for i in range(j) if len(sets[i] & sets[j]) >= 0.5 * len(sets[i] | sets[j])]
            self.assertEqual(sorted(prepare_mail.near_duplicate_pairs(sets)), sorted(expected), f"seed {seed}")

    def test_wave_of_one_spam(self):
        words = "buy our great cheap toner cartridges today and save a lot of money on every single order you make this month"
        first = prepare_mail.shingles(f"Offer 123 {words} http://a.example/1")
        second = prepare_mail.shingles(f"OFFER 98765: {words}, see http://b.example/xyz")
        other = prepare_mail.shingles("the meeting on monday has moved to the large room beside the kitchen on the second floor")
        self.assertEqual(prepare_mail.near_duplicate_pairs([first, other, second]), [(0, 2)])

    def test_clusters_are_connected_components(self):
        self.assertEqual(prepare_mail.clusters(6, [(1, 3), (3, 5), (0, 4)]), [[0, 4], [1, 3, 5], [2]])


class Everything(unittest.TestCase):
    """A small corpus on disk, prepared twice."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.root = pathlib.Path(folder.name)
        source = random.Random(5)
        vocabulary = [f"{a}{b}" for a in ("ba", "ko", "mi", "tu") for b in "abcdefghij"]

        def body():
            return " ".join(source.choice(vocabulary) for _ in range(30))

        wave = body()
        for name, count in (("easy-ham-1", 30), ("easy-ham-2", 10), ("hard-ham-1", 5), ("spam-1", 20), ("spam-2", 10)):
            (self.root / "data" / name).mkdir(parents=True)
            for i in range(count):
                subject = "Re: one thread" if name == "easy-ham-1" and i < 8 else f"subject {name} {i}"
                self.add(name, i, message(wave + f" {i}" if name == "spam-1" and i < 6 else body(), subject=subject))
        both = body()
        self.add("easy-ham-2", 90, message(both))
        self.add("spam-2", 90, message(both, subject="Hello"))
        self.add("spam-2", 91, message("<img src=x>", Content_Type="text/html"))
        self.add("spam-2", 92, message("long words " * 5000, subject="long"))

    def add(self, folder, number, data):
        (self.root / "data" / folder / f"{number:05}.aaaa.txt").write_bytes(data)

    def prepare(self, name, *options):
        with contextlib.redirect_stdout(io.StringIO()):
            prepare_mail.main([str(self.root), str(self.root / name), "--train", "30", "--dev", "10", "--test", "10", *options])
        return {file.name: file.read_bytes() for file in (self.root / name).iterdir()}

    def test_counts_splits_and_determinism(self):
        out = self.prepare("a")
        self.assertEqual(out, self.prepare("b"))
        self.assertNotEqual(out["train.jsonl"], self.prepare("c", "--seed", "2")["train.jsonl"])
        summary = json.loads(out["summary.json"])
        folders = summary["folders"]
        self.assertEqual(sum(folder["messages"] for folder in folders.values()), 79)
        self.assertEqual(folders["spam-1"]["near-duplicate dropped"], 5)
        self.assertEqual(folders["easy-ham-2"]["near-duplicate of the other label dropped"], 1)
        self.assertEqual(folders["spam-2"]["near-duplicate of the other label dropped"], 1)
        self.assertEqual(folders["spam-2"]["no text in the body"], 1)
        self.assertEqual(folders["spam-2"]["body cut"], 1)
        self.assertEqual(summary["after_deduplication"], {"ham": 45, "spam": 26})
        lost = sum(n for folder in folders.values() for what, n in folder.items() if "dropped" in what or what in ("no text in the body", "not parsed"))
        self.assertEqual(79 - lost, 71)  # every message is accounted for
        self.assertEqual(sum(side["rows"] for side in summary["split"].values()), 71)

        rows = {side: [json.loads(line) for line in out[f"{side}.jsonl"].decode().splitlines()] for side in ("train", "dev", "test")}
        self.assertEqual({side: len(some) for side, some in rows.items()}, {"train": 30, "dev": 10, "test": 10})
        ids = [row["id"] for some in rows.values() for row in some]
        self.assertEqual(len(ids), len(set(ids)))
        for some in rows.values():
            self.assertAlmostEqual(sum(row["label"] == "spam" for row in some) / len(some), 26 / 71, delta=0.06)
            self.assertTrue(all(set(row) == {"id", "text", "label"} for row in some))
        threads = [side for side, some in rows.items() for row in some if row["text"].startswith("Re: one thread")]
        self.assertLessEqual(len(set(threads)), 1)

    def test_messages(self):
        with self.assertRaises(SystemExit) as caught:
            self.prepare("d", "--train", "900")
        self.assertEqual(str(caught.exception), "prepare_mail.py: expected at least 920 messages for the split, found 71; ask for fewer")
        with self.assertRaises(SystemExit) as caught:
            prepare_mail.main([str(self.root / "nowhere"), str(self.root / "e")])
        self.assertIn("expected messages (*.txt), found none; is this the unpacked package?", str(caught.exception))


if __name__ == "__main__":
    unittest.main()
