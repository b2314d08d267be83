#!/usr/bin/env bash
# clang-tidy (rules: .clang-tidy) and clang's own warnings over every source file, or over those named or in those folders.
#   scripts/tidy.sh [FILES OR FOLDERS]
# Over all of them it reads several files as one, as preset check compiles them: a third of the time for those. One rule
# then says less: a using declaration that another of the files uses counts as used.
# Needs clang, clang-tidy and libomp-dev.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

unity=ON
[ "$#" -eq 0 ] || unity=OFF
rm -rf build/tidy/unity # written again, for the files there are now
cmake --preset tidy --log-level=NOTICE -DMIXGRAD_UNITY=$unity
cmake --build --preset tidy --target mixgrad_build_info # a generated header

if [ "$#" -gt 0 ]; then
  mapfile -d '' files < <(find "$@" -name '*.cpp' -not -path 'tests/fuzz/*' -print0)
else # the longest first, so that none is left alone at the end
  mapfile -d '' files < <(find build/tidy/unity ops tests examples/hello_tape examples/train_loop -name '*.cpp' \
    -not -name '*_test.cpp' -not -path 'tests/fuzz/*' -print0)
fi
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
