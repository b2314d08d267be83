#!/usr/bin/env bash
# What a job of several ranks does when one of them gets a signal, dies, hangs, fails or meets a number that is not finite.
#   faults.sh PATH/TO/mixgrad
# Exit code 77, which ctest reports as skipped, where there is no mpirun.
set -euo pipefail
# shellcheck disable=SC1091
source "$(dirname "${BASH_SOURCE[0]}")/ranks.sh"
program=$(realpath "$1")
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"

for i in $(seq 60); do echo "the cat $((i * 7 % 13)) sat on the mat, and the dog $((i * 5 % 11)) ran after it"; done >text.txt
endless=(train --data text.txt --layers 1 --d-model 16 --heads 2 --context 8 --batch 4 --threads 1 --warmup 2 --lr 0.001
  --sample-tokens 0 --steps 1000000 --save-every 50 --log-every 50 --timeout 5)

# Starts 2 ranks in the background; sets `job`, and `rank_1` to the process of rank 1, once it has saved a checkpoint.
begin() {
  local out=$1
  shift
  mpirun --quiet --bind-to none "${launch[@]}" -n 2 "$program" "${endless[@]}" --out "$out" "$@" >"$out.said" 2>&1 &
  job=$!
  for _ in $(seq 400); do
    [ ! -e "$out/latest" ] || break
    sleep 0.1
  done
  [ -e "$out/latest" ] || fail "$out: no checkpoint in 40 s: $(cat "$out.said")"
  rank_1=$(pgrep -P "$job" | while read -r pid; do
    ! tr '\0' '\n' <"/proc/$pid/environ" | grep -qx OMPI_COMM_WORLD_RANK=1 || echo "$pid"
  done)
  [ -n "$rank_1" ] || fail "$out: rank 1 is not there"
}
ended() {
  local status=0
  wait "$job" || status=$?
  [ "$status" = "$2" ] || fail "$1: exit code $status instead of $2: $(cat "$1.said")"
}
says() { grep -qF -- "$2" "$1.said" || fail "$1 did not say '$2': $(cat "$1.said")"; }
resumes() { "$program" train --resume "$1" --stop-after 1 >/dev/null 2>said.txt || fail "$1 cannot be resumed: $(cat said.txt)"; }
launch=()

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

# Where the launcher leaves the others alone, they name it themselves.
launch=(--enable-recovery)
begin alone
kill -KILL "$rank_1"
wait "$job" || true
says alone "rank 1 of 2 did not take part in"
resumes alone
launch=()

# A rank that hangs.
begin hangs
kill -STOP "$rank_1"
wait "$job" || true
kill -KILL "$rank_1" 2>/dev/null || true
says hangs "rank 1 of 2 did not take part in"
resumes hangs

# A rank that fails: here rank 0, whose folder cannot be written any more.
begin disk
rm -rf disk/latest disk/step-*
mv disk moved && touch disk
wait "$job" || true
says disk "rank 0 of 2 stopped: "
rm -f disk

# A learning rate that ends in numbers that are not finite: all ranks stop, and say it once; or all skip.
bad=(train --data text.txt --layers 1 --d-model 16 --heads 2 --context 8 --batch 4 --threads 1 --warmup 0 --lr 1000
  --lr-scale '*=1000' --schedule constant --clip 1e30 --weight-decay 0 --sample-tokens 0 --steps 20 --eval-every 0)
must_say 1 "(rank 0); no weight was changed by this step" on_ranks 2 "$program" "${bad[@]}" --out bad
must_say 1 "step 3 skipped (2 of 2)" on_ranks 2 "$program" "${bad[@]}" --skip-nonfinite 2 --out skips

# An error of all ranks is said once.
said=$(on_ranks 2 "$program" "${bad[@]}" --freeze nothing --out frozen 2>&1) && fail "frozen: no error"
[ "$(grep -c "nothing" <<<"$said")" = 1 ] || fail "an error of all ranks is to be said once: $said"
echo "faults: as they must be"
