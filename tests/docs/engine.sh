#!/usr/bin/env bash
# docs/engine.md: its blocks of C++ are one program of at most 200 lines, which compiles and prints the block of text.
#   tests/docs/engine.sh COMPILER
set -euo pipefail
page=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)/docs/engine.md
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
block() { awk -v kind="$1" '$0 == "```" kind { inside = 1; next } /^```/ { inside = 0 } inside' "$page"; }
block cpp >"$work/engine.cpp"
block text >"$work/wanted"
lines=$(wc -l <"$work/engine.cpp")
if [ "$lines" -le 100 ] || [ "$lines" -gt 200 ]; then
  echo "FAILED: the engine must have 101 to 200 lines, it has $lines"
  exit 1
fi
"$1" -std=c++20 -O1 -Wall -Wextra "$work/engine.cpp" -o "$work/engine"
"$work/engine" >"$work/printed"
diff "$work/wanted" "$work/printed" || {
  echo "FAILED: left, what docs/engine.md says; right, what its program prints"
  exit 1
}
echo "the engine: $lines lines, printed what the page says"
