#!/usr/bin/env bash
# Formats every source file with clang-format 14; with --check only names what differs and fails.
# Other versions format differently, so none stands in for it (Debian: clang-format-14).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

case "$*" in
  "") action=(-i) ;;
  --check) action=(--dry-run --Werror) ;;
  *) echo "usage: scripts/format.sh [--check]" >&2 && exit 2 ;;
esac

formatter=$(command -v clang-format-14 || command -v clang-format || true)
if [ -z "$formatter" ] || [[ "$("$formatter" --version)" != *"version 14."* ]]; then
  echo "format.sh: clang-format 14 is required (Debian: apt-get install clang-format-14)" >&2
  exit 1
fi
find core autograd ops nn mixgrad apps tests bench examples \( -name '*.h' -o -name '*.cpp' -o -name '*.cu' -o -name '*.cuh' \) -print0 |
  xargs -0 "$formatter" "${action[@]}"
