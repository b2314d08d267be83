#!/usr/bin/env bash
# Ours and PyTorch in turn on two configurations; prints each round and the medians. Run it on a quiet machine.
#   PYTHON=... ROUNDS=3 THREADS=2 ./bench/compare.sh
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
python=${PYTHON:-python3}
rounds=${ROUNDS:-3}
threads=${THREADS:-2}
binary=build/cpu/bin/mixgrad
real_time=()
if chrt -f 1 true 2>/dev/null; then real_time=(chrt -f 1); else echo "chrt is not allowed here: timings may wander"; fi

# The median of "key": value over the lines of a file.
median() { grep -o "\"ms_per_step\": *[0-9.]*" "$1" | grep -o '[0-9.]*$' | sort -n | awk '{v[NR]=$1} END {print v[int((NR+1)/2)]}'; }

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
for config in "char 4 128 4 64 12 40" "baby 6 384 6 256 8 8"; do
  read -r name layers width heads context batch steps <<<"$config"
  for _ in $(seq "$rounds"); do
    "${real_time[@]}" env OMP_NUM_THREADS="$threads" "$binary" bench train --json --threads "$threads" \
      --layers "$layers" --d-model "$width" --heads "$heads" --context "$context" --batch "$batch" \
      --positions learned --rounds "$steps" | tee -a "$work/$name.ours"
    "${real_time[@]}" env OMP_NUM_THREADS="$threads" "$python" bench/peer_torch.py --threads "$threads" \
      --layers "$layers" --d-model "$width" --heads "$heads" --context "$context" --batch "$batch" \
      --rounds "$steps" | tee -a "$work/$name.torch"
  done
done
for name in char baby; do
  echo "$name: ours $(median "$work/$name.ours") ms, PyTorch $(median "$work/$name.torch") ms a step ($threads threads)"
done
