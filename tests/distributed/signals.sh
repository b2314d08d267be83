#!/usr/bin/env bash
# A job of two ranks that is ended again and again at random moments by a signal to one of them, and each time resumed. Nothing may be
# lost: the last checkpoint can always be read, no step is taken back but those after it, and at the end the weights have the bits of
# a job that nobody ended.
#   signals.sh PATH/TO/mixgrad [TIMES]      (50)
# Exit code 77 where there is no mpirun.
set -euo pipefail
# shellcheck disable=SC1091
source "$(dirname "${BASH_SOURCE[0]}")/ranks.sh"
program=$(realpath "$1")
times=${2:-50}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
RANDOM=1

for i in $(seq 60); do echo "the cat $((i * 7 % 13)) sat on the mat, and the dog $((i * 5 % 11)) ran after it"; done >text.txt
job=(train --data text.txt --layers 1 --d-model 16 --heads 2 --context 8 --batch 4 --threads 1 --warmup 2 --lr 0.001 --dropout 0.1
  --sample-tokens 0 --steps 1000000 --save-every 25 --eval-every 200 --log-every 25 --timeout 20)

# Steps of the last checkpoint, 0 without one.
saved() {
  local step
  step=$(readlink run/latest 2>/dev/null || echo step-0)
  echo "${step#step-}"
}

by_signal=0 before=0
for round in $(seq "$times"); do
  how=("${job[@]}" --out run)
  [ ! -e run/latest ] || how=(train --resume run --sample-tokens 0)
  mpirun --quiet --bind-to none -n 2 "$program" "${how[@]}" >"said-$round" 2>&1 &
  launcher=$!
  # Most moments are after the first step, some while the run is being opened.
  sleep "$((RANDOM % 2)).$((RANDOM % 9 + 1))"
  rank=$((RANDOM % 2))
  signals=(TERM INT USR1 HUP KILL)
  signal=${signals[RANDOM % 5]}
  pid=$(pgrep -P "$launcher" | while read -r child; do
    ! tr '\0' '\n' 2>/dev/null <"/proc/$child/environ" | grep -qx "OMPI_COMM_WORLD_RANK=$rank" || echo "$child"
  done)
  if [ -n "$pid" ]; then kill -"$signal" "$pid" 2>/dev/null || true; else kill -TERM "$launcher"; fi
  status=0
  wait "$launcher" || status=$?
  [ "$status" != 0 ] || fail "round $round: SIG$signal at rank $rank, and the job ended as if it were done: $(cat "said-$round")"
  now=$(saved)
  [ "$now" -ge "$before" ] || fail "round $round: step $before was saved, and now the last is $now"
  if [ "$now" -gt 0 ]; then
    "$program" eval --checkpoint run >/dev/null 2>said.txt || fail "round $round: the checkpoint of step $now cannot be read: $(cat said.txt)"
  fi
  ! grep -q "stopped by SIG" "said-$round" || by_signal=$((by_signal + 1))
  before=$now
done
[ "$before" -gt 0 ] || fail "no step was ever saved"
on_ranks 2 "$program" "${job[@]}" --out whole --stop-after "$before" >/dev/null 2>said.txt || fail "whole: $(cat said.txt)"
same_weights whole run "$times times ended and resumed"
echo "FIGURE two ranks, $times signals at random moments: $before steps, 0 lost, $by_signal stopped after their step and saved, the weights of a job that nobody ended"
