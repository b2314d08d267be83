#!/usr/bin/env bash
# Makes every figure of docs/reliability.md but the fuzzing's (scripts/fuzz.sh): builds, then runs the tests named
# reliability* and nonfinite as often as the page says. About half an hour on two cores.
#   scripts/reliability.sh [THEMES]      such as reliability_kill reliability_fault
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

cmake --preset cpu --log-level=NOTICE
cmake --build --preset cpu
if [ "$#" -gt 0 ]; then
  themes=("$@")
else
  themes=(nonfinite)
  for source in tests/reliability/reliability_*_test.cpp; do themes+=("$(basename "$source" _test.cpp)"); done
fi
log=build/cpu/reliability.log
: >"$log"
for theme in "${themes[@]}"; do
  echo "== $theme"
  MIXGRAD_LONG=1 build/cpu/bin/mixgrad_tests --source-file="*/${theme}_test.cpp" 2>&1 | tee -a "$log" | grep -E 'FIGURE|ERROR|Status|ABSENT: mount'
done
! grep -q 'Status: FAILURE' "$log"
