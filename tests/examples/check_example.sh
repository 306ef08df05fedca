#!/usr/bin/env bash
# Installs the build into a scratch folder, builds examples/ against it as a user would, and runs the program on the toy data.
#   check_example.sh SOURCE_DIR BINARY_DIR
set -euo pipefail
SOURCE=$1 BINARY=$2
SCRATCH=$(mktemp -d)
trap 'rm -rf "$SCRATCH"' EXIT
cmake --install "$BINARY" --prefix "$SCRATCH/prefix" >/dev/null
cmake -S "$SOURCE/examples" -B "$SCRATCH/build" -G Ninja -DCMAKE_PREFIX_PATH="$SCRATCH/prefix" -DCMAKE_BUILD_TYPE=Debug >/dev/null
cmake --build "$SCRATCH/build" >"$SCRATCH/build.log" || { cat "$SCRATCH/build.log"; exit 1; }
[[ $(grep -c '' "$SOURCE/examples/train_and_apply.cpp") -lt 60 ]] || { echo "the example has 60 lines or more"; exit 1; }
OUTPUT=$("$SCRATCH/build/train_and_apply" "$SOURCE/examples/toy/model" "$SOURCE/examples/toy/train.tsv" "$SCRATCH/run" "we saw a lovely film")
echo "$OUTPUT"
grep -Eq '^"we saw a lovely film": no 0\.[0-9]{3}, yes 0\.[0-9]{3}$' <<<"$OUTPUT"
"$SCRATCH/prefix/bin/graft" inspect adapter "$SCRATCH/run/adapter" >/dev/null
"$SCRATCH/prefix/bin/graft" plan --model "$SOURCE/examples/toy/model" --adapter lora --no-timing >/dev/null
