#!/usr/bin/env python3
"""Counts what the plan of the sources is judged by, in this tree or at commits side by side.

    count_house.py [--list] [COMMIT ...]          without a commit: the files as they lie here

  tests            lines with starts_with, ends_with, find, rfind, substr on a name, a part or a site, or a comparison of one with a
                   literal, in src/{edit,model,train,interop}
  concatenations   lines with a name made of another and a literal, as in site.name + ".lora_a", in the same folders
  families         lines outside src/model/families that ask which family a model is of
  flags            members of type bool in the struct of a model's or a stack's config, and in an edit's traits
  headers          headers of the project that one header pulls in, itself not counted
  files            files that a commit touches which adds a method or a family (by the word of its subject), tests and documents too

Identity is a value (Place, TensorId, ParamId); text is for files, messages and patterns. Names that other software gave (imports,
exports) have no other form than text: they are counted, too, and are what should be left.
"""
import argparse
import pathlib
import re
import subprocess

ROOT = pathlib.Path(__file__).resolve().parent.parent
FOLDERS = ("edit", "model", "train", "interop")
NAME = r"\b(?:\w+(?:\(\))?(?:\.|->))*(?:name|names|part|site|stack|canonical|pattern|layer|own|ours|place|bias|each)(?:\(\))?"
TEST = re.compile(NAME + r"(?:\.|->)(?:starts_with|ends_with|find|rfind|substr)\(|" + NAME + r" [!=]= \"")
CONCATENATION = re.compile(NAME + r" \+ \(?[^,;]*\"\.[a-z#]|" + NAME + r" \+ (?:part|suffix|tensor)\b|\"(?:enc|dec)\.\" \+")
# Words that methods and files have for something else than a place.
OTHER = re.compile(r"\"(?:relu|gelu\w*|swish|silu|tanh|linear|code|paper|torch\w*|collections\.\w+|default|all|last)[\".]")
FAMILY = re.compile(r"\bfamily\w*(?:\(\))?(?:\.name)? ?[!=]= ?[\"&A-Z]|Family::k[A-Z]|(?:model_type|family)\w* [!=]= |\bis_(?:bert|roberta|bart|t5|gpt2|llama|mistral|qwen\w*)\b")
COMMENT = re.compile(r"^\s*//|\s//.*$")
INCLUDE = re.compile(r'^#include "([^"]+)"', re.MULTILINE)
# Where a struct of flags stood or stands: the words that open it.
STRUCTS = {"flags of a model's and a stack's config": ("ModelConfig", "StackConfig", "EncoderConfig", "DecoderConfig"), "flags of an edit's traits": ("Traits",)}
HEADERS = ("train/schedule.h", "edit/edit.h")
ADDITIONS = ("VeRA", "Qwen3", "ModernBERT")


def git(*args):
    return subprocess.run(["git", "-C", ROOT, *args], capture_output=True, text=True, check=True).stdout


def sources(commit):
    """{path under src: text} of C++ sources, comments taken off."""
    if commit is None:
        texts = {str(path.relative_to(ROOT)): path.read_text(encoding="utf-8") for path in sorted((ROOT / "src").rglob("*"))
                 if path.suffix in (".cpp", ".h")}
    else:
        paths = [path for path in git("ls-tree", "-r", "--name-only", commit, "src").splitlines() if path.endswith((".cpp", ".h"))]
        texts = {path: git("show", f"{commit}:{path}") for path in paths}
    return {path[len("src/"):]: [COMMENT.sub("", line) for line in text.splitlines()] for path, text in texts.items()}


def lines_of(tree, wanted):
    return [(path, number, line) for path, lines in tree.items() if wanted(path) for number, line in enumerate(lines, 1)]


def flags(tree, structs):
    found = []
    for path, lines in tree.items():
        inside = None
        for number, line in enumerate(lines, 1):
            opened = re.match(r"(?:struct|class) (\w+)[^;]*\{", line)
            if opened:
                inside = opened[1]
            elif line.startswith("}"):
                inside = None
            elif inside in structs and re.match(r"\s+(?:std::optional<)?bool>? \w+", line) and "(" not in line:
                found += [(path, number, name.strip()) for name in line.strip().split(",")]
    return found


def pulled(tree, header):
    seen, open_ = set(), [header]
    while open_:
        for name in INCLUDE.findall("\n".join(tree.get(open_.pop(), []))):
            if name in tree and name not in seen:
                seen.add(name)
                open_.append(name)
    return [(name, 0, "") for name in sorted(seen - {header})]


def counts(commit):
    """{what: [(path, line, text)]}"""
    tree = sources(commit)
    in_four = lambda path: path.split("/")[0] in FOLDERS
    elsewhere = lambda path: "families" not in path and not path.startswith("text/")  # src/text: families of tokenizers
    rows = {"tests on names": [row for row in lines_of(tree, in_four) if TEST.search(row[2]) and not OTHER.search(row[2])],
            "concatenations of names": [row for row in lines_of(tree, in_four) if CONCATENATION.search(row[2]) and not OTHER.search(row[2])],
            "families asked elsewhere": [row for row in lines_of(tree, elsewhere) if FAMILY.search(row[2])]}
    rows |= {what: flags(tree, structs) for what, structs in STRUCTS.items()}
    rows |= {f"headers under {header}": pulled(tree, header) for header in HEADERS}
    for word in ADDITIONS:
        hashes = git("log", "--format=%h", "--reverse", f"--grep=^{word}", *([commit] if commit else [])).split()
        if hashes:
            rows[f"files that {word} touched"] = [(path, 0, "") for path in git("show", "--format=", "--name-only", hashes[0]).splitlines()
                                                  if "/golden/" not in path and not path.startswith("tests/interop/")]
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("commits", nargs="*", metavar="COMMIT")
    parser.add_argument("--list", action="store_true", help="print the lines that count")
    arguments = parser.parse_args()
    commits = arguments.commits or [None]
    tables = [counts(commit) for commit in commits]
    print("| what | " + " | ".join(commit or "here" for commit in commits) + " |\n|---" + "|---:" * len(commits) + "|")
    for what in dict.fromkeys(what for table in tables for what in table):
        print(f"| {what} | " + " | ".join(str(len(table[what])) if what in table else "" for table in tables) + " |")
        if arguments.list:
            print("".join(f"    {path}:{number}: {text.strip()}\n" for path, number, text in tables[-1].get(what, [])), end="")


if __name__ == "__main__":
    main()
