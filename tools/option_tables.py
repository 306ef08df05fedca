"""The tables of options in doc/*.md, as `graft inspect method` and `graft inspect settings` have them.

    option_tables.py GRAFT SOURCE_DIR            exit 1 when a page has another table
    option_tables.py GRAFT SOURCE_DIR --write    put them into the pages

A table stands between `<!-- options lora -->` (or `<!-- settings -->`) and `<!-- end -->`.
"""
import json
import pathlib
import re
import subprocess
import sys

BLOCK = re.compile(r"<!-- (options ([\w-]+)|settings) -->\n(.*?)<!-- end -->", re.DOTALL)


def rows_of(graft, method):
    arguments = ["method", method] if method else ["settings"]
    done = subprocess.run([graft, "inspect", *arguments, "--json"], check=True, capture_output=True, text=True)
    told = json.loads(done.stdout)
    return told["options"] if method else told


def table(rows):
    def cell(text):
        return text.replace("|", "\\|")
    lines = ["| option | default | values | meaning |", "|---|---|---|---|"]
    lines += [f"| `{row['name']}` | `{cell(row['default'])}` | {cell(row['values'])} | {cell(row['meaning'])} |"
              for row in rows]
    return "\n".join(lines) + "\n"


def renewed(graft, text):
    """The page with the tables of today, and the names of those that it has."""
    names = []

    def block(match):
        names.append(match[2] or "settings")
        return f"<!-- {match[1]} -->\n{table(rows_of(graft, match[2]))}<!-- end -->"
    return BLOCK.sub(block, text), names


def main():
    if len(sys.argv) < 3 or sys.argv[3:] not in ([], ["--write"]):
        sys.exit(__doc__)
    graft, source = sys.argv[1], pathlib.Path(sys.argv[2])
    done = subprocess.run([graft, "inspect", "method", "--json"], check=True, capture_output=True, text=True)
    expected = sorted([method["name"] for method in json.loads(done.stdout)] + ["settings"])
    faults, found = [], []
    for page in sorted((source / "doc").glob("*.md")):
        text = page.read_text(encoding="utf-8")
        new, names = renewed(graft, text)
        found += names
        if new == text:
            continue
        if sys.argv[3:]:
            page.write_text(new, encoding="utf-8")
        else:
            faults.append(f"{page.name} has other tables of options than graft: run tools/option_tables.py with --write")
    if sorted(found) != expected:
        faults.append(f"expected tables of {', '.join(expected)}, found {', '.join(sorted(found))}")
    for fault in faults:
        print(fault)
    sys.exit(1 if faults else 0)


if __name__ == "__main__":
    main()
