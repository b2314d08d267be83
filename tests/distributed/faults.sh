#!/usr/bin/env bash
# What a job of several ranks does when one of them gets a signal, dies, hangs, fails or meets a number that is not finite.
#   faults.sh PATH/TO/mixgrad PATH/TO/communicator_ranks
# Exit code 77, which ctest reports as skipped, where there is no mpirun.
# shellcheck disable=SC1091,SC2034,SC2154 # ranks.sh sets job and rank_1, and reads endless and launch
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/ranks.sh"
program=$(realpath "$1")
communicator=$(realpath "$2")
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"

for i in $(seq 60); do echo "the cat $((i * 7 % 13)) sat on the mat, and the dog $((i * 5 % 11)) ran after it"; done >text.txt
endless=(train --data text.txt --layers 1 --d-model 16 --heads 2 --context 8 --batch 4 --threads 1 --warmup 2 --lr 0.001
  --sample-tokens 0 --steps 1000000 --save-every 50 --log-every 50 --timeout 5)

launch=()

ended_by_a_signal() {
  # A signal at rank 1: both stop after the same step, rank 0 saves it, and the exit code is the signal's.
  begin signal
  kill -TERM "$rank_1"
  ended signal 143
  says signal "mixgrad: stopped by SIGTERM after step"
  resumes signal

  # A rank that is killed: mpirun ends the others. The last checkpoint stands.
  begin killed
  kill -KILL "$rank_1"
  ended killed 137
  resumes killed
}

left_alone() {
  # Where the launcher leaves the others alone, they name it themselves.
  local launch=(--enable-recovery)
  begin alone
  kill -KILL "$rank_1"
  wait "$job" || true
  says alone "rank 1 of 2 did not take part in"
  resumes alone
}

hanging() {
  # A rank that hangs.
  begin hangs
  kill -STOP "$rank_1"
  wait "$job" || true
  kill -KILL "$rank_1" 2>/dev/null || true
  says hangs "rank 1 of 2 did not take part in"
  resumes hangs
}

silent_rank() {
  on_ranks 2 "$program" "${endless[@]}" --stop-after 1 --out run >/dev/null 2>said.txt || fail "run: $(cat said.txt)"
  # Whatever the verb, --timeout ends the wait for a rank that does not take part: here one that sleeps for 20 s.
  for verb in "eval --checkpoint run" "bench comm" "bench train --layers 1 --d-model 16 --heads 2 --context 8 --batch 4"; do
    read -ra words <<<"$verb"
    must_say 4 "rank 1 of 2 did not take part in" mpirun --quiet --bind-to none \
      -n 1 "$program" "${words[@]}" --timeout 2 : -n 1 "$communicator" silent
  done
}

failing() {
  # A rank that fails: here rank 0, whose folder cannot be written any more.
  local moved=0
  begin disk
  rm -rf disk/latest disk/step-*
  # Rank 0 may make the folder anew between the two: then once more.
  until [ -f disk ]; do mv disk "moved$((moved++))" && touch disk; done
  wait "$job" || true
  says disk "rank 0 of 2 stopped: "
  rm -f disk
}

not_finite() {
  # A learning rate that ends in numbers that are not finite: all ranks stop, and say it once; or all skip.
  bad=(train --data text.txt --layers 1 --d-model 16 --heads 2 --context 8 --batch 4 --threads 1 --warmup 0 --lr 1000
    --lr-scale '*=1000' --schedule constant --clip 1e30 --weight-decay 0 --sample-tokens 0 --steps 20 --eval-every 0)
  must_say 1 "(rank 0); no weight was changed by this step" on_ranks 2 "$program" "${bad[@]}" --out bad
  must_say 1 "step 3 skipped (2 of 2)" on_ranks 2 "$program" "${bad[@]}" --skip-nonfinite 2 --out skips

  # An error of all ranks is said once.
  said=$(on_ranks 2 "$program" "${bad[@]}" --freeze nothing --out frozen 2>&1) && fail "frozen: no error"
  [ "$(grep -c "nothing" <<<"$said")" = 1 ] || fail "an error of all ranks is to be said once: $said"
}

side_by_side ended_by_a_signal left_alone hanging silent_rank failing not_finite
echo "faults: as they must be"
