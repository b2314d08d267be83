#!/usr/bin/env bash
# compute-sanitizer's four tools over the operators' cases and a captured training step; needs a GPU.
#   scripts/gpu_sanitizers.sh [TOOLS]     of: memcheck racecheck initcheck synccheck
# MIXGRAD_BINARIES as for gpu_suite.sh. The largest cases are left to the suite.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

bin=${MIXGRAD_BINARIES:-build/cuda/bin}
log=$(mktemp)
trap 'rm -f "$log"' EXIT
export MIXGRAD_DEVICE=cuda OMP_WAIT_POLICY=passive
status=0
[ "$#" -gt 0 ] || set -- memcheck synccheck racecheck initcheck
for tool in "$@"; do
  start=$SECONDS
  for run in "--source-file=*op_test*" "--source-file=*graph_trainer_test* --test-case=*halts*"; do
    # shellcheck disable=SC2086  # run is several words
    timeout "${SECONDS_EACH:-200}" compute-sanitizer --tool "$tool" --print-limit 5 --error-exitcode 9 \
      "$bin"/mixgrad_tests $run >"$log" 2>&1 || status=1
    echo "$tool, $run: $(grep -a 'ERROR SUMMARY\|RACECHECK SUMMARY' "$log" | tail -1) $(grep -a 'test cases:' "$log" | tail -1)"
    grep -a -A12 '========= \(Invalid\|Error\|Race\|Uninitialized\|Barrier\)' "$log" | head -40 || true
  done
  echo "$tool took $((SECONDS - start)) s"
done
exit "$status"
