#!/usr/bin/env python3
"""Counts where the sources take names of sites and tensors apart, and where they put them together.

    count_names.py [--list] [TREE]

Identity is a value (Place, TensorId, ParamId); text is for files, messages and patterns. What is counted in src/{edit,model,train,interop}
by what the code calls its variables, a line at most once each:
  tests            starts_with, ends_with, find, rfind, substr on a name, a part or a site, or a comparison of one with a literal
  concatenations   a name made of another and a literal, as in site.name + ".lora_a"
Names that other software gave (imports, exports) have no other form than text: they are counted, too, and are what should be left.
"""
import argparse
import pathlib
import re

FOLDERS = ("edit", "model", "train", "interop")
SUFFIXES = {".cpp", ".h"}
NAME = r"\b(?:\w+(?:\(\))?(?:\.|->))*(?:name|names|part|site|stack|canonical|pattern|layer|own|ours|place|bias|each)(?:\(\))?"
TEST = re.compile(NAME + r"(?:\.|->)(?:starts_with|ends_with|find|rfind|substr)\(|" + NAME + r" [!=]= \"")
CONCATENATION = re.compile(NAME + r" \+ \(?[^,;]*\"\.[a-z#]|" + NAME + r" \+ (?:part|suffix|tensor)\b|\"(?:enc|dec)\.\" \+")
# Words that methods and files have for something else than a place.
OTHER = re.compile(r"\"(?:relu|gelu\w*|swish|silu|tanh|linear|code|paper|torch\w*|collections\.\w+|default|all|last)[\".]")
COMMENT = re.compile(r"^\s*//|\s//.*$")


def lines_of(tree):
    for folder in FOLDERS:
        for path in sorted((tree / "src" / folder).iterdir()):
            if path.suffix not in SUFFIXES:
                continue
            for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
                yield path.relative_to(tree), number, COMMENT.sub("", line)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tree", nargs="?", type=pathlib.Path, default=pathlib.Path(__file__).resolve().parent.parent)
    parser.add_argument("--list", action="store_true", help="print the lines")
    arguments = parser.parse_args()
    counts = {"tests": {}, "concatenations": {}}
    for path, number, line in lines_of(arguments.tree):
        for kind, pattern in (("tests", TEST), ("concatenations", CONCATENATION)):
            if not pattern.search(line) or OTHER.search(line):
                continue
            folder = path.parts[1]
            counts[kind][folder] = counts[kind].get(folder, 0) + 1
            if arguments.list:
                print(f"{kind[:-1]:14} {path}:{number}: {line.strip()}")
    for kind, by_folder in counts.items():
        print(f"{kind:15} {sum(by_folder.values()):4}   " + ", ".join(f"{folder} {by_folder.get(folder, 0)}" for folder in FOLDERS))


if __name__ == "__main__":
    main()
