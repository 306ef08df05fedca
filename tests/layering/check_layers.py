"""Checks the layers of src/: who may include whom, and which words and headers stay out of where.

    check_layers.py SOURCE_DIR     sweeps SOURCE_DIR/src; exit 1 with one line a fault
    check_layers.py --self-test    shows, on a tree made wrong on purpose, that every rule bites
"""
import pathlib
import re
import sys
import tempfile

# A folder may include itself and those before it.
ORDER = ["base", "text", "data", "tensor", "model", "edit", "infer", "train", "interop", "study", "serve", "cli"]
WITHOUT_TORCH = {"base", "text", "data"}
TORCH = ("torch/", "ATen/", "c10/")
NOT_IN_HEADERS = ("nlohmann/", "yaml-cpp/", "httplib.h", "CLI/")
LONGEST = 600

INCLUDE = re.compile(r'^\s*#\s*include\s*(["<])([^">]+)[">]')
FAMILY = re.compile(r"(?<![A-Za-z])((?i:bert|roberta|gpt-?2|llama|t5|bart))(?![a-z])")


def without_comment(line):
    return line.split("//", 1)[0]


def check_file(path, folder):
    """The faults of one file, and its notes (which do not fail)."""
    faults, notes = [], []
    lines = path.read_text(encoding="utf-8").splitlines()
    for number, line in enumerate(lines, 1):
        where = f"{path}:{number}: "
        found = INCLUDE.match(line)
        if found:
            kind, name = found.groups()
            first = name.split("/")[0]
            if kind == '"' and first not in ORDER:
                faults.append(where + f'"{name}": expected a path from src/, such as "base/error.h"')
            if kind == '"' and first in ORDER and ORDER.index(first) > ORDER.index(folder):
                faults.append(where + f"{folder}/ lies below {first}/ and may not include \"{name}\"")
            if name.startswith(TORCH) and folder in WITHOUT_TORCH:
                faults.append(where + f"{folder}/ is without torch and may not include <{name}>")
            if name.startswith(NOT_IN_HEADERS) and path.suffix == ".h":
                faults.append(where + f"<{name}> belongs into a .cpp, never into a header")
        elif folder == "edit":
            family = FAMILY.search(without_comment(line))
            if family:
                faults.append(where + f"edit/ knows sites, not model families, found '{family.group(1)}'")
    if len(lines) > LONGEST:
        notes.append(f"{path}: {len(lines)} lines; past {LONGEST} a file is split by meaning")
    return faults, notes


def check_tree(source_dir):
    """All faults and notes below source_dir/src, and the number of files swept."""
    faults, notes, count = [], [], 0
    src = pathlib.Path(source_dir) / "src"
    for path in sorted(src.rglob("*")):
        if path.suffix not in (".h", ".cpp"):
            continue
        count += 1
        folder = path.relative_to(src).parts[0]
        if folder not in ORDER:
            faults.append(f"{path}: '{folder}' is not a folder of the design: {', '.join(ORDER)}")
            continue
        new_faults, new_notes = check_file(path, folder)
        faults += new_faults
        notes += new_notes
    if count == 0:
        faults.append(f"{src}: no source was found, so nothing was checked")
    return faults, notes, count


WRONG = {
    "base/up.h": ('#include "text/x.h"\n', "base/ lies below text/"),
    "text/torch.cpp": ("#include <ATen/ATen.h>\n", "text/ is without torch"),
    "data/torch.h": ("  #  include <torch/types.h>\n", "data/ is without torch"),
    "model/hooks.h": ('#include "edit/edit.h"\n', "model/ lies below edit/"),
    "tensor/json.h": ("#include <nlohmann/json.hpp>\n", "never into a header"),
    "cli/yaml.h": ("#include <yaml-cpp/yaml.h>\n", "never into a header"),
    "serve/http.h": ("#include <httplib.h>\n", "never into a header"),
    "infer/near.cpp": ('#include "near.h"\n', "expected a path from src/"),
    "edit/family.cpp": ("bool f() { return family == \"roberta\"; }\n", "found 'roberta'"),
    "edit/camel.cpp": ("struct T5Lora {};\n", "found 'T5'"),
    "other/x.cpp": ("\n", "is not a folder of the design"),
}
RIGHT = {
    "text/a.cpp": '#include <nlohmann/json.hpp>\n#include <vector>\n#include "base/error.h"\n#include "text/a.h"\n',
    "edit/b.cpp": "// BERT in a comment is fine, and so are sbert_t, bartlett and at5.\n#include <ATen/ATen.h>\nint at5 = 0, bartlett = 1;\n",
    "cli/c.cpp": '#include "train/run.h"\n#include <CLI/CLI.hpp>\n',
}


def self_test():
    for name, (text, expected) in WRONG.items():
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "src" / name
            path.parent.mkdir(parents=True)
            path.write_text(text)
            faults, _, _ = check_tree(folder)
            assert len(faults) == 1 and expected in faults[0], f"{name}: expected one fault with '{expected}', found {faults}"
    with tempfile.TemporaryDirectory() as folder:
        for name, text in RIGHT.items():
            path = pathlib.Path(folder) / "src" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        (pathlib.Path(folder) / "src/cli/long.cpp").write_text("\n" * 601)
        faults, notes, count = check_tree(folder)
        assert not faults and count == len(RIGHT) + 1, faults
        assert len(notes) == 1 and "601 lines" in notes[0], notes
    with tempfile.TemporaryDirectory() as folder:
        faults, _, _ = check_tree(folder)
        assert len(faults) == 1 and "no source was found" in faults[0], faults
    print(f"every rule bites: {len(WRONG) + 1} wrong trees refused, {len(RIGHT) + 1} right files passed")


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    if sys.argv[1] == "--self-test":
        return self_test()
    faults, notes, count = check_tree(sys.argv[1])
    for note in notes:
        print("note: " + note)
    for fault in faults:
        print(fault)
    print(f"{count} files swept, {len(faults)} faults")
    sys.exit(1 if faults else 0)


if __name__ == "__main__":
    main()
