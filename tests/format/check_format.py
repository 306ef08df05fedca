"""Checks how files are written: lines not too long, no blanks at their ends, C++ as clang-format 14 has it.

    check_format.py SOURCE_DIR                    columns and blanks, without tools; exit 1 with one line a fault
    check_format.py --clang-format SOURCE_DIR     clang-format 14 over every file; exit 77 (skipped) where it is not installed
    check_format.py --self-test

The limit of C++ is ColumnLimit of .clang-format; a raw string may pass it, since a break would change it, and so may a row of a
table in Markdown. `make format` formats.
"""
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

SKIPPED = 77
FOLDERS = ["src", "tests", "bench", "tools", "examples", "presets", "tasks", "doc", "cmake", ".ci"]
CODE = {".h", ".cpp"}
# Columns by ending. Others are looked at for blanks alone.
LIMITS = {".md": 130, ".yaml": 100, ".cmake": 120, "CMakeLists.txt": 120, "Makefile": 130}
OTHERS = {".py", ".sh", ".in"}
DATA = re.compile(r"^(tests/golden/(?!CMakeLists|[^/]*\.(h|cpp)$)|tests/fuzz/corpus/|bench/results/|examples/toy/)|/build/")


def kind_of(path):
    return path.name if path.name in LIMITS else path.suffix


def files_of(source):
    """Paths from `source`, of what is written by hand."""
    paths = [path for path in source.iterdir() if path.is_file()]
    paths += [path for folder in FOLDERS for path in (source / folder).rglob("*") if path.is_file()]
    names = sorted(path.relative_to(source).as_posix() for path in paths)
    return [name for name in names if kind_of(pathlib.PurePath(name)) in CODE | LIMITS.keys() | OTHERS and not DATA.search(name)]


def column_limit(source):
    style = source / ".clang-format"
    found = re.search(r"^ColumnLimit: (\d+)$", style.read_text(encoding="utf-8"), re.M) if style.is_file() else None
    if not found:
        sys.exit(f"{style}: expected a line 'ColumnLimit: N'")
    return int(found.group(1))


def lines_in_raw_strings(text):
    """Numbers of the lines, from 1, that hold a part of a raw string."""
    numbers = set()
    for match in re.finditer(r'R"(\w*)\(.*?\)\1"', text, re.S):
        first = text.count("\n", 0, match.start()) + 1
        numbers.update(range(first, first + match.group().count("\n") + 1))
    return numbers


def faults_of(name, text, code_limit):
    kind = kind_of(pathlib.PurePath(name))
    limit = code_limit if kind in CODE else LIMITS.get(kind)
    free = lines_in_raw_strings(text) if kind in CODE else set()
    faults = []
    for number, line in enumerate(text.split("\n"), 1):
        if line != line.rstrip() and number not in free:
            faults.append(f"{name}:{number}: blanks at the end of the line")
        is_row = kind == ".md" and line.lstrip().startswith("|")
        if limit and len(line) > limit and not is_row and number not in free:
            faults.append(f"{name}:{number}: expected at most {limit} columns, found {len(line)}")
    if text and not text.endswith("\n"):
        faults.append(f"{name}: the last line does not end")
    return faults


def check(source):
    names, limit = files_of(source), column_limit(source)
    return [fault for name in names for fault in faults_of(name, (source / name).read_text(encoding="utf-8"), limit)], len(names)


def find_clang_format():
    for name in ("clang-format-14", "clang-format"):
        path = shutil.which(name)
        if path and " version 14." in subprocess.run([path, "--version"], capture_output=True, text=True, check=True).stdout:
            return path
    return None


def misformatted(source, program):
    """One line for each place that clang-format would change, and the number of files."""
    names = [name for name in files_of(source) if pathlib.PurePath(name).suffix in CODE]
    done = subprocess.run([program, "--dry-run", *names], cwd=source, capture_output=True, text=True, check=True)
    return [line for line in done.stderr.splitlines() if "[-Wclang-format-violations]" in line], len(names)


def self_test():
    style = {".clang-format": "ColumnLimit: 40\n"}
    cases = [
        ({"src/a.cpp": "int a = 1;\n"}, []),
        ({"src/a.cpp": "int a;" + " " * 40 + "// x\n"}, ["src/a.cpp:1: expected at most 40 columns, found 50"]),
        ({"src/a.cpp": 'f(R"(' + "x" * 50 + '\n  y)");\n'}, []),
        ({"src/a.h": "int a; \n"}, ["src/a.h:1: blanks at the end"]),
        ({"src/a.h": "int a;"}, ["the last line does not end"]),
        ({"tools/a.py": "a" * 200 + "\n"}, []),
        ({"tools/a.py": "a\t\n"}, ["tools/a.py:1: blanks"]),
        ({"presets/a.yaml": "a" * 101 + "\n"}, ["presets/a.yaml:1: expected at most 100"]),
        ({"README.md": "a" * 131 + "\n| " + "a" * 200 + "\n"}, ["README.md:1: expected at most 130"]),
        ({"tests/x/CMakeLists.txt": "a" * 121 + "\n"}, ["CMakeLists.txt:1: expected at most 120"]),
        ({"tests/golden/x/y.md": "a \n", "tests/fuzz/corpus/a.yaml": "a \n"}, []),
    ]
    for files, expected in cases:
        with tempfile.TemporaryDirectory() as folder:
            source = pathlib.Path(folder)
            for name, text in {**style, **files}.items():
                (source / name).parent.mkdir(parents=True, exist_ok=True)
                (source / name).write_text(text)
            faults, _ = check(source)
            matches = len(faults) == len(expected) and all(part in fault for part, fault in zip(expected, faults))
            assert matches, f"{files}: expected {expected}, found {faults}"
    print(f"{len(cases)} small trees are judged as they should be")


def main():
    arguments = sys.argv[1:]
    if arguments == ["--self-test"]:
        return self_test()
    option = arguments.pop(0) if len(arguments) == 2 else ""
    if len(arguments) != 1 or option not in ("", "--clang-format"):
        sys.exit(__doc__)
    source = pathlib.Path(arguments[0]).resolve()
    program = find_clang_format()
    if option == "--clang-format" and program is None:
        print("skipped: clang-format 14 is not installed (tools/setup.sh fuzz installs it)")
        sys.exit(SKIPPED)
    faults, count = misformatted(source, program) if option else check(source)
    for fault in faults:
        print(fault)
    print(f"{count} files swept, {len(faults)} faults; `make format` formats")
    return sys.exit(1 if faults else 0)


if __name__ == "__main__":
    main()
