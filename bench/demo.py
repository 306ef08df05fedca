"""How long a new user waits for the demo's table: a clone without any build or cache, by stage -> demo.json.

    demo.py [--out bench/results] [--keep FOLDER]

Clones what is committed, and runs there what `make demo` runs: the set-up, the build (without a compiler cache), the demo.
What is fetched is fetched anew, but for what pip and npm keep of their own. Needs a quiet machine of some minutes.
"""
import os
import pathlib
import subprocess
import sys
import tempfile
import time

from harness import ROOT, parser_of, run, write_figures

sys.path.insert(0, str(ROOT / "tools/demo"))
import report  # noqa: E402

STAGES = {"set-up": ["make", "setup-demo"], "build": ["make", "build"], "demo": ["make", "demo"]}


def timed_stages(clone):
    """Seconds of each stage; what one has made, the next finds made."""
    seconds = {}
    for name, command in STAGES.items():
        begin = time.monotonic()
        run(command, cwd=clone, env={**os.environ, "CCACHE_DISABLE": "1"})
        seconds[name] = time.monotonic() - begin
        print(f"{name:8} {seconds[name]:6.0f} s", flush=True)
    return seconds


def main():
    parser = parser_of(__doc__.splitlines()[0])
    parser.add_argument("--keep", help="clones into this folder and leaves it; otherwise the clone is removed")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        clone = pathlib.Path(args.keep or scratch) / "graft"
        subprocess.run(["git", "clone", "--quiet", "--no-hardlinks", ROOT, clone], check=True)
        seconds = timed_stages(clone)
        figures = {"seconds": seconds, "whole": sum(seconds.values()), "table": report.figures(clone / "demo")}
    write_figures(args.out / "demo.json", "bench/demo.py", figures)
    report.print_rows(figures["table"])
    print(f"from the clone to the table: {figures['whole'] / 60:.1f} minutes")


if __name__ == "__main__":
    main()
