#!/usr/bin/env bash
# Packs the runtime as `make package` does (by a faster compressor), unpacks it elsewhere and runs it.
#   check_package.sh SOURCE_DIR BINARY_DIR
set -euo pipefail
SOURCE=$1 BINARY=$2
SCRATCH=$(mktemp -d)
trap 'rm -rf "$SCRATCH"' EXIT
unset GRAFT_SHARE LD_LIBRARY_PATH
fail() { echo "$*"; exit 1; }

(cd "$SCRATCH" && cpack --config "$BINARY/CPackConfig.cmake" -G TGZ -D CPACK_THREADS=0 -B "$SCRATCH/packed" >"$SCRATCH/log") || { cat "$SCRATCH/log"; exit 1; }
mkdir "$SCRATCH/a place"
tar -xzf "$SCRATCH"/packed/graft-*.tar.gz -C "$SCRATCH/a place"
PREFIX=$(echo "$SCRATCH/a place"/graft-*)
[[ -x "$PREFIX/bin/graft" ]] || fail "no bin/graft in the archive"
[[ ! -e "$PREFIX/include" ]] || fail "headers are no part of what runs"
"$(dirname "$0")/check_libraries.sh" "$PREFIX/bin/graft"
cd "$SCRATCH"
"$PREFIX/bin/graft" --version | grep -q "^graft "
"$PREFIX/bin/graft" inspect presets | grep -q "^lora  "
"$PREFIX/bin/graft" train --model "$SOURCE/examples/toy/model" --task text:no,yes --data "$SOURCE/examples/toy" --adapter lora --out run --set max_steps=2 --quiet
"$PREFIX/bin/graft" eval --model "$SOURCE/examples/toy/model" --adapter run/adapter --data "$SOURCE/examples/toy/dev.tsv" --quiet >/dev/null
