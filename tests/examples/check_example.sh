#!/usr/bin/env bash
# Installs the build into a scratch folder and moves it, builds examples/ against it as a user would, and runs the program on the toy data.
#   check_example.sh SOURCE_DIR BINARY_DIR
set -euo pipefail
SOURCE=$1 BINARY=$2
SCRATCH=$(mktemp -d)
trap 'rm -rf "$SCRATCH"' EXIT
unset GRAFT_SHARE LD_LIBRARY_PATH
fail() { echo "$*"; exit 1; }

cmake --install "$BINARY" --prefix "$SCRATCH/first" >/dev/null
mkdir "$SCRATCH/moved to"
PREFIX="$SCRATCH/moved to/here"
mv "$SCRATCH/first" "$PREFIX"

# Nothing in the prefix names where it was, the source tree, or the torch wheel.
if grep -rlE "$SOURCE|$BINARY|$SCRATCH/first" "$PREFIX/lib/cmake" "$PREFIX/share"; then fail "these files name the tree that they were built in"; fi
"$(dirname "$0")/check_libraries.sh" "$PREFIX/bin/graft"

cmake -S "$SOURCE/examples" -B "$SCRATCH/build" -G Ninja -DCMAKE_PREFIX_PATH="$PREFIX" -DCMAKE_BUILD_TYPE=Debug >/dev/null
cmake --build "$SCRATCH/build" >"$SCRATCH/build.log" || { cat "$SCRATCH/build.log"; exit 1; }
for program in train_and_apply two_adapters train_together; do
  [[ $(grep -c '' "$SOURCE/examples/$program.cpp") -lt 60 ]] || fail "$program.cpp has 60 lines or more"
done
OUTPUT=$("$SCRATCH/build/train_and_apply" "$SOURCE/examples/toy/model" "$SOURCE/examples/toy/train.tsv" "$SCRATCH/run" "we saw a lovely film")
echo "$OUTPUT"
grep -Eq '^"we saw a lovely film": no 0\.[0-9]{3}, yes 0\.[0-9]{3}$' <<<"$OUTPUT"
"$PREFIX/bin/graft" inspect adapter "$SCRATCH/run/adapter" >/dev/null
TOGETHER=$("$SCRATCH/build/train_together" "$SOURCE/examples/toy/model" "$SOURCE/examples/toy/train.tsv" "$SCRATCH/together")
echo "$TOGETHER"
[[ $(grep -Ec '/(lora|loreft): ([0-9]+) of \2 steps $' <<<"$TOGETHER") -eq 2 ]] || fail "two runs come to their end"
for name in lora loreft; do "$PREFIX/bin/graft" inspect adapter "$SCRATCH/together/$name/adapter" >/dev/null; done
"$PREFIX/bin/graft" train --model "$SOURCE/examples/toy/model" --task text:no,yes --data "$SOURCE/examples/toy/train.tsv" \
  --adapter ia3 --out "$SCRATCH/other" --set max_steps=2 --quiet
OUTPUT=$("$SCRATCH/build/two_adapters" "$SOURCE/examples/toy/model" "$SCRATCH/run/adapter" "$SCRATCH/other/adapter" "we saw a lovely film" "a sad book")
echo "$OUTPUT"
[[ $(grep -cE '/(run|other)/adapter: ".*" is (no|yes) \(0\.[0-9]{3}\)$' <<<"$OUTPUT") -eq 4 ]] || fail "expected four answers"
# The headers are the public ones, and they alone.
diff <(cd "$SOURCE/include" && find . -type f | sort) <(cd "$PREFIX/include" && find . -type f | sort) || fail "other headers than include/'s"
"$PREFIX/bin/graft" plan --model "$SOURCE/examples/toy/model" --adapter lora --no-timing >/dev/null
