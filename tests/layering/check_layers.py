"""Checks the layers of src/: who may include whom, and which words and headers stay out of where.

    check_layers.py SOURCE_DIR     sweeps SOURCE_DIR/src; exit 1 with one line a fault
    check_layers.py --self-test    shows, on trees made wrong on purpose, that every rule bites

A folder of src/ is a library, and its CMakeLists.txt says which libraries it links: graft_library(edit ... LINKS graft_model).
- The links make no cycle, each is used by an include, and each is a link of the design below.
- A file includes only its own folder's headers and those of folders that its own links, or that these link in turn.
- A header that calls itself "Internal to src/x", or lies in src/x/detail/, is included in src/x and tests/x alone. "Inside src/x"
  says nothing to this check and is refused.
- Every source is listed, so that none is left uncompiled.
- A public header (include/graft/) includes public headers and the standard library alone. The folder that implements it is
  its owner: whoever may include the owner's headers may include it.
- Below the command line no message spells a flag ("--out"): option_name() of base/spelling.h does.
- Every test is run: tests/x/test_y.cpp or .py is named in tests/x/CMakeLists.txt. Where entries there run some classes of a
  script (ONLY), each class with a test_ is in one of them.
"""
import ast
import itertools
import pathlib
import re
import sys
import tempfile

# What a folder may link: the design (doc/design.md, The rooms). Fewer is fine.
MAY_LINK = {
    "base": set(),
    "stats": {"base"},
    "text": {"base"},
    "data": {"base", "text"},
    "tensor": {"base"},
    "model": {"base", "tensor"},
    "edit": {"base", "text", "data", "tensor", "model"},
    "feed": {"base", "text", "data", "tensor", "model"},
    "infer": {"base", "text", "data", "tensor", "model", "edit", "feed"},
    "train": {"base", "text", "data", "tensor", "model", "edit", "feed", "infer"},
    "session": {"base", "text", "data", "tensor", "model", "edit", "feed", "infer", "train"},
    "study": {"base", "stats", "text", "data", "tensor", "model", "edit", "feed", "infer", "train", "session"},
    "interop": {"base", "text", "data", "tensor", "model", "edit", "feed", "infer"},
    "cli": {"base", "text", "data", "tensor", "model", "edit", "feed", "infer", "train", "session", "study", "interop"},
}
# A public header -> the folder that implements it.
PUBLIC = {
    "graft/errors.h": "base",
    "graft/run.h": "train",
    "graft/model.h": "session",
    "graft/task.h": "session",
    "graft/adapter.h": "session",
    "graft/session.h": "session",
}
WITHOUT_TORCH = {"base", "stats", "text", "data"}
TORCH = ("torch/", "ATen/", "c10/")
NOT_IN_HEADERS = ("nlohmann/", "yaml-cpp/", "CLI/")
LONGEST = 600

INCLUDE = re.compile(r'^\s*#\s*include\s*(["<])([^">]+)[">]')
FAMILY_FILE = re.compile(r"\b(\w+)_families\(\)")
FAMILIES_IN_OTHER_FILES = {"mistral", "qwen2", "roberta"}
LIBRARY = re.compile(r"graft_library\(\s*(\w+)([^)]*)\)")
FLAG = re.compile(r'"(?:[^"\\]|\\.)*(?<![-\w])--[a-z][-a-z]*(?:[^"\\]|\\.)*"')
FLAGS_OF_OTHERS = ("gguf-split --merge",)
SCRIPT_ENTRY = re.compile(r"graft_cli_test\(([^)]*)\)")
ENTRY_KEYWORDS = {"SCRIPT", "LABELS", "ENV", "ONLY", "EXHAUSTIVE"}
INTERNAL = re.compile(r"Internal to src/(\w+)")
NEARLY_INTERNAL = re.compile(r"Inside src/|Internal to(?! src/\w)")


class Library:
    """One folder as its CMakeLists.txt declares it."""

    def __init__(self, path):
        self.path = path
        text = re.sub(r"#.*", "", path.read_text(encoding="utf-8"))
        self.words = set(text.replace("(", " ").replace(")", " ").split())   # a source may belong to a program beside it
        found = LIBRARY.search(text)
        self.name = found.group(1) if found else None
        words = found.group(2).split() if found else []
        after_links = words[words.index("LINKS") + 1:] if "LINKS" in words else []
        self.links = {word[len("graft_"):] for word in after_links if word.startswith("graft_")}
        self.has_torch = "TORCH" in words


def reachable(folder, libraries):
    """The folders whose headers a file of `folder` may include: its own, and what it links, also through others."""
    seen, left = {folder}, [folder]
    while left:
        for link in libraries[left.pop()].links & libraries.keys():
            if link not in seen:
                seen.add(link)
                left.append(link)
    return seen


def check_graph(libraries):
    faults = []
    for folder, library in libraries.items():
        if library.name != folder:
            faults.append(f"{library.path}: expected graft_library({folder} ...), found {library.name or 'none'}")
        for link in sorted(library.links):
            if link not in MAY_LINK[folder]:
                faults.append(f"{library.path}: {folder} may not link {link}; the design lets it link "
                              f"{', '.join(sorted(MAY_LINK[folder])) or 'nothing'}")
            if link in libraries and folder in reachable(link, libraries):
                faults.append(f"{library.path}: {folder} and {link} link each other in a circle")
        if library.has_torch and folder in WITHOUT_TORCH:
            faults.append(f"{library.path}: {folder} is without torch and may not ask for TORCH")
    return faults


def without_comment(line):
    return line.split("//", 1)[0]


def internal_headers(src):
    """Path as it is included -> the folder that it is internal to."""
    headers = {}
    for path in sorted(src.rglob("*.h")):
        name = path.relative_to(src).as_posix()
        said = INTERNAL.search(path.read_text(encoding="utf-8"))
        if said or "detail" in path.relative_to(src).parts[:-1]:
            headers[name] = said.group(1) if said else name.split("/")[0]
    return headers


def family_names(src):
    """A word of code that is a family's name, alone or as a part such as the T5 of T5Lora. Nothing if there are no families."""
    found = [FAMILY_FILE.search(path.read_text(encoding="utf-8")) for path in sorted((src / "model/families").glob("*.cpp"))]
    names = {name.group(1) for name in found if name}
    if not names:
        return None
    spellings = [re.sub(r"(?<=[a-z]{3})(?=\d)", "-?", name) for name in sorted(names | FAMILIES_IN_OTHER_FILES)]   # GPT-2 is gpt2, too
    return re.compile(r"(?<![A-Za-z])((?i:" + "|".join(spellings) + r"))(?![a-z])")


def includes_of(path):
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        found = INCLUDE.match(line)
        if found:
            yield f"{path}:{number}: ", *found.groups()


def check_includes(path, folder, libraries, internal):
    faults = []
    for where, kind, name in includes_of(path):
        first = PUBLIC.get(name, name.split("/")[0])
        if kind == '"' and first not in libraries:
            faults.append(where + f'"{name}": expected a path from src/, such as "base/error.h"')
        elif kind == '"' and first not in reachable(folder, libraries):
            faults.append(where + f'{folder}/ does not link {first}/ and may not include "{name}"')
        elif internal.get(name, folder) != folder:
            faults.append(where + f'"{name}" is internal to src/{internal[name]}')
        if name.startswith(TORCH) and folder in WITHOUT_TORCH:
            faults.append(where + f"{folder}/ is without torch and may not include <{name}>")
        if name.startswith(NOT_IN_HEADERS) and path.suffix == ".h":
            faults.append(where + f"<{name}> belongs into a .cpp, never into a header")
    return faults


def check_words(path, folder, families):
    """Model families in src/edit; and a note, which does not fail, about files that have grown long."""
    faults, notes = [], []
    lines = path.read_text(encoding="utf-8").splitlines()
    for number, line in enumerate(lines, 1):
        family = folder == "edit" and families and not INCLUDE.match(line) and families.search(without_comment(line))
        flag = folder != "cli" and FLAG.search(without_comment(line))
        if flag and not any(known in line for known in FLAGS_OF_OTHERS):
            faults.append(f"{path}:{number}: only the command line spells flags, found {flag.group(0)}; take option_name()")
        if family:
            faults.append(f"{path}:{number}: edit/ knows sites, not model families, found '{family.group(1)}'")
        if path.suffix == ".h" and NEARLY_INTERNAL.search(line):
            faults.append(f'{path}:{number}: a header that is internal says "Internal to src/x", in one line, found {line.strip()!r}')
    if len(lines) > LONGEST:
        notes.append(f"{path}: {len(lines)} lines; past {LONGEST} a file is split by meaning")
    return faults, notes


def sources_below(folder):
    return [path for path in sorted(folder.rglob("*")) if path.suffix in (".h", ".cpp")]


def check_folder(folder, library, libraries, internal, families):
    faults, notes, used = [], [], set()
    sources = sources_below(folder)
    for path in sources:
        faults += check_includes(path, folder.name, libraries, internal)
        new_faults, new_notes = check_words(path, folder.name, families)
        faults, notes = faults + new_faults, notes + new_notes
        used |= {PUBLIC.get(name, name.split("/")[0]) for _, kind, name in includes_of(path) if kind == '"'}
        if path.suffix == ".cpp" and path.relative_to(folder).as_posix() not in library.words:
            faults.append(f"{path}: is not listed in {library.path.name}, so nothing compiles it")
    faults += [f"{library.path}: links {link}, of which no file includes anything" for link in sorted(library.links - used)]
    return faults, notes, len(sources)


def check_tests(source_dir, internal):
    """A test may look inside the folder that it tests, and no other."""
    faults = []
    tests = source_dir / "tests"
    for path in sources_below(tests):
        folder = path.relative_to(tests).parts[0]
        faults += [where + f'"{name}" is internal to src/{internal[name]}'
                   for where, _, name in includes_of(path) if internal.get(name, folder) != folder]
    return faults


def classes_run(listing):
    """Script -> the classes that its entries run, of scripts with an entry that names some."""
    found = {}
    for entry in SCRIPT_ENTRY.findall(listing):
        words = entry.split()
        if "ONLY" in words:
            names = itertools.takewhile(lambda word: word not in ENTRY_KEYWORDS, words[words.index("ONLY") + 1:])
            found.setdefault(words[words.index("SCRIPT") + 1], set()).update(names)
    return found


def classes_with_tests(script):
    classes = [node for node in ast.parse(script.read_text(encoding="utf-8")).body if isinstance(node, ast.ClassDef)]
    return [node.name for node in classes if any(isinstance(part, ast.FunctionDef) and part.name.startswith("test_") for part in node.body)]


def check_tests_are_run(source_dir):
    faults = []
    for path in sorted(path for path in (source_dir / "tests").rglob("test_*") if path.suffix in (".cpp", ".py")):
        listing = path.parent / "CMakeLists.txt"
        text = re.sub(r"#.*", "", listing.read_text(encoding="utf-8")) if listing.is_file() else ""
        if not re.search(rf"(?<![-\w]){re.escape(path.name)}(?![-\w.])", text):
            faults.append(f"{path}: is not named in {listing}, so it is never run")
        run = classes_run(text).get(path.name)
        if run is not None:
            faults += [f"{path}: no entry of {listing} runs {name}: put it behind an ONLY" for name in classes_with_tests(path) if name not in run]
    return faults


def check_public(source_dir):
    """Public headers stand alone: a program that sees include/ alone can compile them."""
    faults = []
    include = source_dir / "include"
    for path in sources_below(include):
        name = path.relative_to(include).as_posix()
        if name not in PUBLIC:
            faults.append(f"{path}: no folder is known to implement this public header")
        for where, kind, included in includes_of(path):
            is_standard = kind == "<" and "/" not in included and not included.endswith(".h")
            if included not in PUBLIC and not is_standard:
                faults.append(where + f"a public header may not include {included}, which is private")
    return faults


def check_tree(source_dir):
    """All faults and notes below source_dir, and the number of files swept."""
    src = pathlib.Path(source_dir) / "src"
    faults, notes, count = [], [], 0
    folders = [path for path in sorted(src.iterdir()) if path.is_dir()] if src.is_dir() else []
    strangers = [folder for folder in folders if folder.name not in MAY_LINK]
    faults += [f"{folder}: is not a folder of the design: {', '.join(MAY_LINK)}" for folder in strangers]
    libraries = {folder.name: Library(folder / "CMakeLists.txt") for folder in folders if folder not in strangers}
    faults += check_graph(libraries)
    internal = internal_headers(src)
    families = family_names(src)
    if (src / "edit").is_dir() and families is None:
        faults.append(f"{src / 'model/families'}: no file defines a family (x_families()), so src/edit was not checked for their names")
    for folder in folders:
        if folder not in strangers:
            new_faults, new_notes, swept = check_folder(folder, libraries[folder.name], libraries, internal, families)
            faults, notes, count = faults + new_faults, notes + new_notes, count + swept
    faults += check_tests(pathlib.Path(source_dir), internal)
    faults += check_tests_are_run(pathlib.Path(source_dir))
    faults += check_public(pathlib.Path(source_dir))
    if count == 0:
        faults.append(f"{src}: no source was found, so nothing was checked")
    return faults, notes, count


# A small tree without faults; each wrong tree below changes some of its files.
RIGHT = {
    "src/base/CMakeLists.txt": "graft_library(base\n  SOURCES error.cpp   # (a remark)\n  LINKS yaml-cpp)\n",
    "src/base/error.h": '#include "graft/errors.h"\n',
    "include/graft/errors.h": "#include <string>\n",
    "include/graft/run.h": '#include "graft/errors.h"\n',
    "src/base/error.cpp": '#include "base/error.h"\n#include <yaml-cpp/yaml.h>\n',
    "src/base/limits.h": "// Internal to src/base.\n",
    "src/text/CMakeLists.txt": "graft_library(text SOURCES a.cpp LINKS graft_base ICU::uc)\n",
    "src/text/a.h": '#include "base/error.h"\n',
    "src/text/a.cpp": '#include <nlohmann/json.hpp>\n#include "text/a.h"\n#include "text/detail/b.h"\n',
    "src/text/detail/b.h": "",
    "src/data/CMakeLists.txt": "graft_library(data SOURCES c.cpp LINKS graft_text)\n",
    "src/data/c.cpp": '#include "base/error.h"\n#include "text/a.h"\n',   # base through text
    "src/tensor/CMakeLists.txt": "graft_library(tensor TORCH SOURCES plain/d.cpp LINKS graft_base)\n",
    "src/tensor/plain/d.cpp": '#include <ATen/ATen.h>\n#include "base/error.h"\n',
    "src/model/CMakeLists.txt": "graft_library(model SOURCES families/t5.cpp families/gpt2.cpp LINKS graft_base)\n",
    "src/model/families/t5.cpp": '#include "base/error.h"\nstd::vector<Family> t5_families() {}\n',
    "src/model/families/gpt2.cpp": "std::vector<Family> gpt2_families() {}\n",
    "src/edit/CMakeLists.txt": "graft_library(edit TORCH SOURCES e.cpp LINKS graft_tensor)\n",
    "src/edit/e.h": '#include "tensor/d.h"\n',
    "src/edit/e.cpp": "// BERT in a comment is fine, and so are sbert_t and at5.\nint at5 = 0, robertas = 1;\n",
    "src/cli/CMakeLists.txt": "graft_library(cli SOURCES f.cpp LINKS graft_data)\nadd_executable(graft main.cpp)\n",
    "src/cli/f.cpp": '#include "data/c.h"\n#include <CLI/CLI.hpp>\n',
    "src/cli/main.cpp": "",
    "tests/base/test_limits.cpp": '#include "base/limits.h"\n#include "tests/support/x.h"\n',
    "tests/base/CMakeLists.txt": "graft_test(test_base SOURCES test_limits.cpp)\n",
    "tests/cli/test_a.py": "class Base:\n  def setUp(self): pass\nclass One(Base):\n  def test_1(self): pass\nclass Two(Base):\n  def test_2(self): pass\n",
    "tests/cli/test_b.py": "class Three:\n  def test_3(self): pass\n",
    "tests/cli/CMakeLists.txt": "graft_cli_test(a_one SCRIPT test_a.py ONLY One LABELS fast)\ngraft_cli_test(a_two SCRIPT test_a.py LABELS slow ONLY Two)\n"
                                "graft_cli_test(a_all SCRIPT test_a.py EXHAUSTIVE)\ngraft_cli_test(b SCRIPT test_b.py)\n",
}
WRONG = [
    ({"src/base/error.h": '#include "text/a.h"\n'}, "base/ does not link text/"),
    ({"src/tensor/plain/d.cpp": '#include "base/error.h"\n#include "text/a.h"\n'}, "tensor/ does not link text/"),
    ({"src/text/a.h": '#include "a.h"\n#include "base/error.h"\n'}, "expected a path from src/"),
    ({"src/data/c.cpp": '#include "text/a.h"\n#include "base/limits.h"\n'}, "is internal to src/base"),
    ({"src/data/c.cpp": '#include "text/a.h"\n#include "text/detail/b.h"\n'}, "is internal to src/text"),
    ({"tests/data/test_c.cpp": '#include "base/limits.h"\n', "tests/data/CMakeLists.txt": "graft_test(test_data SOURCES test_c.cpp)\n"},
     "test_c.cpp:1: \"base/limits.h\" is internal to src/base"),
    ({"tests/base/test_limit.cpp": ""}, "test_limit.cpp: is not named in"),
    ({"tests/base/CMakeLists.txt": "# test_limits.cpp\n"}, "test_limits.cpp: is not named in"),
    ({"tests/new/test_d.py": ""}, "test_d.py: is not named in"),
    ({"tests/cli/CMakeLists.txt": "graft_cli_test(a SCRIPT test_a.py ONLY One LABELS Two)\ngraft_cli_test(b SCRIPT test_b.py)\n"}, "runs Two: put it behind"),
    ({"src/text/a.cpp": "#include <ATen/ATen.h>\n"}, "text/ is without torch and may not include"),
    ({"src/text/a.h": '#include "base/error.h"\n  #  include <torch/types.h>\n'}, "text/ is without torch and may not include"),
    ({"src/base/CMakeLists.txt": "graft_library(base TORCH SOURCES error.cpp)\n"}, "base is without torch and may not ask"),
    ({"src/base/error.h": "#include <nlohmann/json.hpp>\n"}, "never into a header"),
    ({"src/cli/f.h": "#include <yaml-cpp/yaml.h>\n"}, "never into a header"),
    ({"src/edit/e.cpp": "bool f() { return family == \"roberta\"; }\n"}, "found 'roberta'"),
    ({"src/edit/e.cpp": "struct T5Lora {};\n"}, "found 'T5'"),
    ({"src/edit/e.cpp": "const char* text = \"as GPT-2 has it\";\n"}, "found 'GPT-2'"),
    ({"src/model/families/t5.cpp": '#include "base/error.h"\n', "src/model/families/gpt2.cpp": ""}, "no file defines a family"),
    ({"src/base/limits.h": "// Inside src/base.\n"}, "a header that is internal says"),
    ({"src/base/limits.h": "// Limits. Internal to\n// src/base.\n"}, "a header that is internal says"),
    ({"include/graft/run.h": '#include "base/error.h"\n'}, "may not include base/error.h, which is private"),
    ({"include/graft/run.h": "#include <ATen/ATen.h>\n"}, "may not include ATen/ATen.h, which is private"),
    ({"include/graft/other.h": "\n"}, "no folder is known to implement"),
    ({"src/base/error.h": '#include "graft/run.h"\n'}, "expected a path from src/"),   # there is no train/ to implement it
    ({"src/text/a.h": '#include "base/error.h"\nauto f() { return "give --out"; }  // not "--in"\n'}, "found \"give --out\""),
    ({"src/other/x.cpp": "\n"}, "is not a folder of the design"),
    ({"src/data/new.cpp": "\n"}, "is not listed in CMakeLists.txt"),
    ({"src/data/c.cpp": '#include "base/error.h"\n'}, "links text, of which no file includes anything"),
    ({"src/data/CMakeLists.txt": "graft_library(date SOURCES c.cpp LINKS graft_text)\n"}, "expected graft_library(data"),
    ({"src/text/CMakeLists.txt": "graft_library(text SOURCES a.cpp LINKS graft_base graft_cli)\n",
      "src/text/a.h": '#include "base/error.h"\n#include "cli/f.h"\n'},
     ["text may not link cli", "text and cli link each other", "data and text link each other", "cli and data link each other"]),
]


def write_tree(root, files):
    for name, text in files.items():
        path = pathlib.Path(root) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def self_test():
    for changed, expected in WRONG:
        with tempfile.TemporaryDirectory() as folder:
            write_tree(folder, {**RIGHT, **changed})
            faults, _, _ = check_tree(folder)
            wanted = expected if isinstance(expected, list) else [expected]
            matches = len(faults) == len(wanted) and all(any(part in fault for fault in faults) for part in wanted)
            assert matches, f"{list(changed)}: expected {wanted}, found {faults}"
    with tempfile.TemporaryDirectory() as folder:
        write_tree(folder, {**RIGHT, "src/cli/f.h": "\n" * 601})
        faults, notes, count = check_tree(folder)
        assert not faults and count == sum(name.startswith("src/") and "CMake" not in name for name in RIGHT) + 1, faults
        assert len(notes) == 1 and "601 lines" in notes[0], notes
    with tempfile.TemporaryDirectory() as folder:
        faults, _, _ = check_tree(folder)
        assert len(faults) == 1 and "no source was found" in faults[0], faults
    print(f"every rule bites: {len(WRONG) + 1} wrong trees refused, one right tree passed")


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
