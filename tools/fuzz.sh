#!/usr/bin/env bash
# Runs every fuzz target of a fuzzing build for some seconds each, from the seeds in tests/fuzz/corpus.
#
#   tools/fuzz.sh BUILD_DIR SECONDS [JOBS] [SUMMARY]
#
# JOBS (1) targets run at a time. SUMMARY: a JSON file for what was run and how far it got. What a target learns stays in BUILD_DIR/corpus;
# a crash is written to BUILD_DIR/crashes, to be named and added to the seeds.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
[[ $# -ge 2 && $# -le 4 ]] || { echo "usage: tools/fuzz.sh BUILD_DIR SECONDS [JOBS] [SUMMARY]" >&2; exit 2; }
build=$1 seconds=$2 jobs=${3:-1} summary=${4:-}

run_target() {
  local build=$1 seconds=$2 target=$3 name
  name=$(basename "$target")
  name=${name#fuzz_}
  mkdir -p "$build/corpus/$name" "$build/crashes/$name"
  local log="$build/crashes/$name.log" seeds=()
  [[ -d tests/fuzz/corpus/$name ]] && seeds=("tests/fuzz/corpus/$name")
  echo "fuzz: $name for $seconds s"
  if LSAN_OPTIONS=suppressions=tests/fuzz/leaks.txt:print_suppressions=0 "$target" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 -max_len=65536 \
      -artifact_prefix="$build/crashes/$name/" "$build/corpus/$name" "${seeds[@]}" >"$log" 2>&1; then
    echo "fuzz: $name: $(tail -1 "$log")"
  else
    echo "fuzz: $name failed: $(grep -E 'ERROR|SUMMARY|Test unit written' "$log" || tail -5 "$log")"
    touch "$build/crashes/$name.failed"
  fi
}

# {"runs": of the target, "edges": covered, "seconds"} of each log.
write_summary() {
  python3 - "$build" "$seconds" "$1" <<'PYTHON'
import json, pathlib, re, sys
build, seconds, summary = pathlib.Path(sys.argv[1]), int(sys.argv[2]), pathlib.Path(sys.argv[3])
old = json.loads(summary.read_text()) if summary.exists() else {}
targets = {}
for log in sorted((build / "crashes").glob("*.log")):
    text = log.read_text(errors="replace")
    done, edges = re.search(r"Done (\d+) runs in (\d+) second", text), re.findall(r"cov: (\d+)", text)
    targets[log.stem] = {"runs": int(done[1]) if done else None, "seconds": int(done[2]) if done else None, "edges": int(edges[-1]) if edges else None,
                         "failed": log.with_suffix(".failed").exists()}
new = {"command": f"tools/fuzz.sh BUILD_DIR {seconds}", "sanitizers": "address, undefined, leak", "targets": targets}
new |= {key: old[key] for key in ("mutations",) if key in old}   # of mutate_files
summary.write_text(json.dumps(new, indent=1) + "\n")
PYTHON
}

rm -f "$build"/crashes/*.failed "$build"/crashes/*.log
targets=()
for target in "$build"/tests/fuzz/fuzz_*; do
  [[ -f "$target" && -x "$target" ]] && targets+=("$target")
done
[[ ${#targets[@]} -gt 0 ]] || { echo "fuzz: error: no target in $build/tests/fuzz" >&2; exit 1; }
export -f run_target
printf '%s\0' "${targets[@]}" | xargs -0 -P "$jobs" -I{} bash -c 'run_target "$@"' run_target "$build" "$seconds" {}
[[ -z $summary ]] || write_summary "$summary"
failed=$(find "$build/crashes" -maxdepth 1 -name '*.failed' -printf '%f ')
[[ -z $failed ]] || { echo "fuzz: error: failed: ${failed//.failed/}" >&2; exit 1; }
echo "fuzz: ${#targets[@]} targets, no failure"
