#!/usr/bin/env bash
# Fails unless every library that an installed program loads is the C library's or lies in the prefix of the program.
#   check_libraries.sh PREFIX/bin/graft
set -euo pipefail
PREFIX=$(dirname "$(dirname "$(realpath "$1")")")
# A line of ldd: "libname => /path (0x address)", where the path may hold spaces, or "libname => not found".
OUTSIDE=$(env -i ldd "$1" | sed -nE 's/^\s*\S+ => (.*) \(0x[0-9a-f]+\)$/\1/p; s/^\s*(\S+) => not found$/\1 (not found)/p' | while read -r library; do
  case "$(realpath -m "$library")" in
    "$PREFIX"/*) ;;
    */lib/*/libc.so.6 | */lib/*/libm.so.6 | */lib/*/libdl.so.2 | */lib/*/librt.so.1 | */lib/*/libpthread.so.0 | */ld-linux*) ;;
    *) echo "$library" ;;
  esac
done)
[[ -z "$OUTSIDE" ]] || { echo "$1 loads libraries from elsewhere:"; echo "$OUTSIDE"; exit 1; }
