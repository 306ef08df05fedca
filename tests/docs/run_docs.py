"""Runs the commands that README.md and doc/*.md promise.

    run_docs.py SOURCE_DIR BINARY_DIR     exit 1 when a command fails
    run_docs.py --self-test

A block of shell commands is run when the line `<!-- run -->` stands before it (blank lines between are fine):

    <!-- run -->
    ```sh
    build/release/graft plan --model tests/golden/models/tiny --adapter lora
    ```

All blocks of one page run in order, each with `bash -euo pipefail`, in one scratch copy of what the pages use (presets, tasks, examples, data
and tiny models of the tests), where build/release/graft is the program under test. `<!-- run fails N -->` expects exit code N. Every other
`sh` block is only counted. A marker without a block after it is an error, and so is a README in which nothing is run.

`<!-- from FILE -->` before a block says that each of its lines stands in FILE, which is compiled elsewhere; blanks do not count.
"""
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

COPIED = ["README.md", "presets", "tasks", "examples", "doc", "tests/golden"]
MARKER = re.compile(r"^<!-- run(?: fails (\d+))? -->$")
QUOTED = re.compile(r"^<!-- from (\S+) -->\n+```\w*\n(.*?)^```", re.M | re.S)


class Block:
    def __init__(self, line, exit_code, text):
        self.line, self.exit_code, self.text = line, exit_code, text


def extract(text, name):
    """The blocks to run, and the number of sh blocks that are not."""
    blocks, others, pending = [], 0, None
    lines = text.splitlines()
    i = 0
    while i < len(lines):
        marker = MARKER.match(lines[i].strip())
        if marker:
            if pending:
                raise ValueError(f"{name}:{pending[0]}: '<!-- run -->' without a block of ```sh after it")
            pending = (i + 1, int(marker.group(1) or 0))
        elif lines[i].startswith("```"):
            language, start = lines[i][3:].strip(), i + 1
            i += 1
            while i < len(lines) and not lines[i].startswith("```"):
                i += 1
            if i == len(lines):
                raise ValueError(f"{name}:{start}: the block is not closed")
            if pending and language != "sh":
                raise ValueError(f"{name}:{pending[0]}: '<!-- run -->' before a block of '{language}', expected sh")
            if pending:
                blocks.append(Block(start, pending[1], "\n".join(lines[start:i]) + "\n"))
            elif language == "sh":
                others += 1
            pending = None
        elif lines[i].strip() and pending:
            raise ValueError(f"{name}:{pending[0]}: '<!-- run -->' without a block of ```sh after it")
        elif lines[i].strip().startswith("<!-- run"):
            raise ValueError(f"{name}:{i + 1}: expected '<!-- run -->' or '<!-- run fails N -->', found '{lines[i].strip()}'")
        i += 1
    if pending:
        raise ValueError(f"{name}:{pending[0]}: '<!-- run -->' without a block of ```sh after it")
    return blocks, others


def quotation_faults(text, name, source):
    """Lines of blocks marked with `<!-- from FILE -->` that do not stand in FILE."""
    faults = []
    for file, block in QUOTED.findall(text):
        found = "".join((source / file).read_text(encoding="utf-8").split()) if (source / file).is_file() else ""
        faults += [f"{name}: '{line.strip()}' does not stand in {file}" for line in block.splitlines()
                   if "".join(line.split()) not in found]
    if len(QUOTED.findall(text)) != text.count("<!-- from "):
        faults.append(f"{name}: '<!-- from FILE -->' without a block after it")
    return faults


def make_scratch(source, binary, scratch):
    for name in COPIED:
        if (source / name).is_dir():
            shutil.copytree(source / name, scratch / name)
        elif (source / name).exists():
            shutil.copy(source / name, scratch / name)
    (scratch / "build/release").mkdir(parents=True)
    if (binary / "graft").exists():
        (scratch / "build/release/graft").symlink_to(binary / "graft")


def run_page(page, source, binary):
    """Runs one page; the faults, the number of blocks run and of those left."""
    name = str(page.relative_to(source))
    text = page.read_text(encoding="utf-8")
    try:
        blocks, others = extract(text, name)
    except ValueError as e:
        return [str(e)], 0, 0
    faults = quotation_faults(text, name, source)
    with tempfile.TemporaryDirectory(prefix="graft-docs-") as folder:
        scratch = pathlib.Path(folder)
        if blocks:
            make_scratch(source, binary, scratch)
        environment = {**os.environ, "HOME": folder, "PATH": f"{scratch / 'build/release'}:{os.environ['PATH']}"}
        for block in blocks:
            done = subprocess.run(["bash", "-euo", "pipefail", "-c", block.text], cwd=scratch, env=environment, stdin=subprocess.DEVNULL,
                                  stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=600, check=False)
            if done.returncode != block.exit_code:
                faults.append(f"{name}:{block.line}: expected exit code {block.exit_code}, found {done.returncode}\n{block.text}{done.stdout}")
                break   # what follows builds on it
    return faults, len(blocks), others


def run_all(source, binary):
    readme = source / "README.md"
    pages = ([readme] if readme.exists() else []) + sorted((source / "doc").glob("*.md"))
    faults, num_run, num_left = [], 0, 0
    for page in pages:
        new_faults, run, left = run_page(page, source, binary)
        faults += new_faults
        num_run += run
        num_left += left
        if page == readme and run == 0 and not new_faults:
            faults.append("README.md: no block is marked with '<!-- run -->', so nothing of it was checked")
    return faults, f"{len(pages)} pages: {num_run} blocks run, {num_left} sh blocks not marked, {len(faults)} faults"


def expect_fault(files, expected):
    with tempfile.TemporaryDirectory() as folder:
        source = pathlib.Path(folder)
        for name, text in files.items():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_text(text)
        faults, summary = run_all(source, source)
        matches = len(faults) == 1 and expected in faults[0] if expected else not faults
        assert matches, f"expected a fault with '{expected}', found {faults}"
        return summary


def self_test():
    ok = "<!-- run -->\n```sh\ntrue\n```\n"
    expect_fault({}, None)
    summary = expect_fault({"README.md": ok + "```sh\nfalse\n```\n", "doc/a.md": "<!-- run -->\n\n```sh\necho 1 > x\n```\n<!-- run -->\n```sh\ntest -s x\n```\n",
                            "presets/lora.yaml": "x"}, None)
    assert summary == "2 pages: 3 blocks run, 1 sh blocks not marked, 0 faults", summary
    expect_fault({"README.md": "<!-- run -->\n```sh\ntest -e presets/lora.yaml\ntest -e README.md\n```\n", "presets/lora.yaml": "x"}, None)
    expect_fault({"README.md": "```sh\ntrue\n```\n"}, "no block is marked")
    expect_fault({"README.md": "<!-- run -->\n```sh\nfalse\ntrue\n```\n"}, "README.md:2: expected exit code 0, found 1")
    expect_fault({"README.md": "<!-- run -->\n```sh\nfalse | true\n```\n"}, "expected exit code 0, found 1")
    expect_fault({"README.md": "<!-- run fails 2 -->\n```sh\nexit 2\n```\n"}, None)
    expect_fault({"README.md": "<!-- run fails 2 -->\n```sh\ntrue\n```\n"}, "expected exit code 2, found 0")
    expect_fault({"README.md": "<!-- run -->\nwords\n"}, "README.md:1: '<!-- run -->' without a block")
    expect_fault({"README.md": "<!-- run -->\n"}, "README.md:1: '<!-- run -->' without a block")
    expect_fault({"README.md": "<!-- run -->\n```yaml\na: 1\n```\n"}, "before a block of 'yaml', expected sh")
    expect_fault({"README.md": "<!-- run: -->\n```sh\ntrue\n```\n"}, "expected '<!-- run -->' or")
    expect_fault({"README.md": "<!-- run -->\n```sh\ntrue\n"}, "README.md:2: the block is not closed")
    quoted = ok + "<!-- from a.cpp -->\n```cpp\nint a =\n  1;\n```\n"
    expect_fault({"README.md": quoted, "a.cpp": "x; int a = 1;\n"}, None)
    expect_fault({"README.md": quoted, "a.cpp": "int a = 2;\n"}, "'1;' does not stand in a.cpp")
    expect_fault({"README.md": ok + "<!-- from a.cpp -->\nwords\n", "a.cpp": "words\n"}, "without a block after it")
    print("the extractor finds, runs and refuses as it should")


def main():
    if sys.argv[1:] == ["--self-test"]:
        return self_test()
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    faults, summary = run_all(pathlib.Path(sys.argv[1]).resolve(), pathlib.Path(sys.argv[2]).resolve())
    for fault in faults:
        print(fault)
    print(summary)
    sys.exit(1 if faults else 0)


if __name__ == "__main__":
    main()
