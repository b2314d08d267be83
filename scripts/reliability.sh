#!/usr/bin/env bash
# Makes every figure of docs/reliability.md but the fuzzing's (scripts/fuzz.sh): builds, then runs the tests named
# reliability* and nonfinite as often as the page says, and a job of two ranks with 50 signals (theme ranks). About half
# an hour on two cores.
#   scripts/reliability.sh [THEMES]      such as reliability_kill reliability_fault ranks
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

cmake --preset cpu --log-level=NOTICE
cmake --build --preset cpu
if [ "$#" -gt 0 ]; then
  themes=("$@")
else
  themes=(nonfinite)
  for source in tests/reliability/reliability_*_test.cpp; do themes+=("$(basename "$source" _test.cpp)"); done
  themes+=(ranks)
fi
log=build/cpu/reliability.log
: >"$log"
for theme in "${themes[@]}"; do
  echo "== $theme"
  if [ "$theme" = ranks ]; then
    status=0
    tests/distributed/signals.sh build/cpu/bin/mixgrad 2>&1 | tee -a "$log" || status=$?
    [ "$status" = 0 ] || [ "$status" = 77 ] || exit "$status"
    continue
  fi
  MIXGRAD_LONG=1 build/cpu/bin/mixgrad_tests --source-file="*/${theme}_test.cpp" 2>&1 | tee -a "$log" | grep -E 'FIGURE|ERROR|Status|ABSENT: mount'
done
! grep -q 'Status: FAILURE' "$log"
