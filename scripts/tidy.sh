#!/usr/bin/env bash
# clang-tidy (rules: .clang-tidy) and clang's own warnings over every source file, or over those named or in those folders.
#   scripts/tidy.sh [FILES OR FOLDERS]
# Needs clang, clang-tidy and libomp-dev.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

cmake --preset tidy --log-level=NOTICE
cmake --build --preset tidy --target mixgrad_build_info # a generated header

[ "$#" -gt 0 ] || set -- core autograd ops nn apps tests
mapfile -d '' files < <(find "$@" -name '*.cpp' -not -path 'tests/fuzz/*' -print0)
check() {
  if ! output=$(clang-tidy --quiet -p build/tidy "$1" 2>&1); then
    printf '%s\n' "$output"
    return 1
  fi
}
export -f check
# shellcheck disable=SC2016  # the inner shell expands it
if printf '%s\0' "${files[@]}" | xargs -0 -n 1 -P "$(nproc)" bash -c 'check "$0"'; then
  echo "clang-tidy: ${#files[@]} files, no finding"
else
  echo "clang-tidy: findings above" >&2
  exit 1
fi
