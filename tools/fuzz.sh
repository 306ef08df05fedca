#!/usr/bin/env bash
# Runs every fuzz target of a fuzzing build for some seconds each, from the seeds in tests/fuzz/corpus.
#
#   tools/fuzz.sh BUILD_DIR SECONDS
#
# What a target learns stays in BUILD_DIR/corpus; a crash is written to BUILD_DIR/crashes, to be named and added to the seeds.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
[[ $# -eq 2 ]] || { echo "usage: tools/fuzz.sh BUILD_DIR SECONDS" >&2; exit 2; }
build=$1 seconds=$2
count=0 failed=()
for target in "$build"/tests/fuzz/fuzz_*; do
  [[ -f "$target" && -x "$target" ]] || continue
  name=$(basename "$target")
  name=${name#fuzz_}
  mkdir -p "$build/corpus/$name" "$build/crashes/$name"
  log="$build/crashes/$name.log"
  echo "fuzz: $name for $seconds s"
  seeds=()
  [[ -d tests/fuzz/corpus/$name ]] && seeds=("tests/fuzz/corpus/$name")
  # libtorch keeps what it allocates once for the whole process, which the leak check would report.
  if ASAN_OPTIONS=detect_leaks=0 "$target" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 -max_len=65536 \
      -artifact_prefix="$build/crashes/$name/" "$build/corpus/$name" "${seeds[@]}" >"$log" 2>&1; then
    tail -1 "$log"
  else
    grep -E 'ERROR|SUMMARY|Test unit written' "$log" || tail -5 "$log"
    failed+=("$name")
  fi
  count=$((count + 1))
done
[[ $count -gt 0 ]] || { echo "fuzz: error: no target in $build/tests/fuzz" >&2; exit 1; }
[[ ${#failed[@]} -eq 0 ]] || { echo "fuzz: error: failed: ${failed[*]}" >&2; exit 1; }
echo "fuzz: $count targets, no failure"
