#!/usr/bin/env bash
# compute-sanitizer's four tools over the operators' cases and a captured training step; needs a GPU.
#   scripts/gpu_sanitizers.sh [TOOLS]     of: memcheck racecheck initcheck synccheck
# MIXGRAD_BINARIES as for gpu_suite.sh; OPERATORS="linear rope" for some of them. racecheck takes a minute or more for each
# operator, the others seconds in all: JOBS (8) of them run at a time, SECONDS_EACH (400) cuts one off.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

bin=${MIXGRAD_BINARIES:-build/cuda/bin}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export MIXGRAD_DEVICE=cuda OMP_WAIT_POLICY=passive OMP_NUM_THREADS=2
[ "$#" -gt 0 ] || set -- memcheck synccheck initcheck racecheck
one() { # TOOL NAME OPTIONS OF mixgrad_tests
  local log="$work/$1-$2.log" result
  timeout "${SECONDS_EACH:-400}" compute-sanitizer --tool "$1" --print-limit 5 --error-exitcode 9 \
    "$bin"/mixgrad_tests "${@:3}" >"$log" 2>&1 || touch "$work/failed"
  result=$(grep -a 'ERROR SUMMARY\|RACECHECK SUMMARY' "$log" | tail -1 | sed 's/=* //' || true)
  echo "$1, $2: ${result:-CUT OFF OR FAILED} $(grep -a 'test cases:' "$log" | tail -1 | cut -d'|' -f2,3 || true)"
  grep -a -A12 '========= \(Invalid\|Error\|Race\|Uninitialized\|Barrier\)' "$log" | head -40 || true
}

operators=${OPERATORS:-}
[ -n "$operators" ] || operators=$(sed -n 's/^\(OP\|UNARY\)(\([a-z_]*\),.*/\2/p' ops/op_list.def ops/elementwise/unary.def)
graphs=(--source-file='*graph_trainer_test*,*step_graph_test*' --test-case='*halts*,generator: its tokens*')
for tool in "$@"; do
  start=$SECONDS
  if [ "$tool" = racecheck ]; then # one operator at a time, forward and gradients
    for op in $operators; do
      while [ "$(jobs -rp | wc -l)" -ge "${JOBS:-8}" ]; do wait -n; done
      one "$tool" "$op" --source-file='*op_test*' --test-case="$op: the same bits*" &
    done
    one "$tool" "captured runs" "${graphs[@]}" &
    wait
  else
    one "$tool" "every operator" --source-file='*op_test*'
    one "$tool" "captured runs" "${graphs[@]}"
  fi
  echo "$tool took $((SECONDS - start)) s"
done
[ ! -e "$work/failed" ]
