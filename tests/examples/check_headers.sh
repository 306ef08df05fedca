#!/usr/bin/env bash
# Compiles every public header alone, and the examples, with nothing of Graft in sight but include/.
#   check_headers.sh SOURCE_DIR COMPILER
set -euo pipefail
SOURCE=$1 COMPILER=$2
compile() { "$COMPILER" -std=c++20 -fsyntax-only -Wall -Wextra -Wshadow -Wconversion -Werror -I "$SOURCE/include" "$@"; }
count=0
for header in "$SOURCE"/include/graft/*.h; do
  compile -x c++ - <<<"#include \"graft/$(basename "$header")\""
  count=$((count + 1))
done
for program in "$SOURCE"/examples/*.cpp; do compile "$program"; done
# A test that finds nothing would pass; a program that sees a private header must not.
[[ $count -ge 6 ]] || { echo "expected the public headers in $SOURCE/include/graft, found $count"; exit 1; }
if compile -x c++ - <<<'#include "base/files.h"' 2>/dev/null; then echo "a private header is in sight"; exit 1; fi
