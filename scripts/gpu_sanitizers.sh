#!/usr/bin/env bash
# compute-sanitizer's four tools over the operators' cases, a captured training step and captured decoding; needs a GPU.
#   scripts/gpu_sanitizers.sh [TOOLS]     of: memcheck racecheck initcheck synccheck
# MIXGRAD_BINARIES as for gpu_suite.sh; OPERATORS="linear rope" for some of them (racecheck takes a minute each, the others
# seconds in all); SECONDS_EACH (200) cuts one off.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

bin=${MIXGRAD_BINARIES:-build/cuda/bin}
log=$(mktemp)
trap 'rm -f "$log"' EXIT
export MIXGRAD_DEVICE=cuda OMP_WAIT_POLICY=passive
status=0
[ "$#" -gt 0 ] || set -- memcheck synccheck racecheck initcheck
one() { # TOOL NAME OPTIONS OF mixgrad_tests
  local result
  timeout "${SECONDS_EACH:-200}" compute-sanitizer --tool "$1" --print-limit 5 --error-exitcode 9 \
    "$bin"/mixgrad_tests "${@:3}" >"$log" 2>&1 || status=1
  result=$(grep -a 'ERROR SUMMARY\|RACECHECK SUMMARY' "$log" | tail -1 | sed 's/=* //' || true)
  echo "$1, $2: ${result:-CUT OFF OR FAILED} $(grep -a 'test cases:' "$log" | tail -1 | cut -d'|' -f2,3 || true)"
  grep -a -A12 '========= \(Invalid\|Error\|Race\|Uninitialized\|Barrier\)' "$log" | head -40 || true
}

operators=${OPERATORS:-}
[ -n "$operators" ] || operators=$(sed -n 's/^OP(\([a-z_]*\),.*/\1/p' ops/op_list.def)
for tool in "$@"; do
  start=$SECONDS
  if [ "$tool" = racecheck ]; then # slow: one operator at a time, forward and gradients
    for op in $operators; do one "$tool" "$op" --source-file='*op_test*' --test-case="$op: the same bits*"; done
  else
    one "$tool" "every operator" --source-file='*op_test*'
  fi
  one "$tool" "a captured run" --source-file='*graph_trainer_test*' --test-case='*halts*'
  one "$tool" "captured decoding" --source-file='*step_graph_test*' --test-case='generator*,*are refused*'
  echo "$tool took $((SECONDS - start)) s"
done
exit "$status"
