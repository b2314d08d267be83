#!/usr/bin/env bash
# Training on two GPUs: the numbers of one with accumulation, repeated bits, resuming, and what happens when a rank fails.
#   gpus.sh PATH/TO/mixgrad PATH/TO/communicator_ranks [laws | training | faults]
# Exit code 77, which ctest reports as skipped, without mpirun, a build with NCCL, or two GPUs.
# shellcheck disable=SC1091,SC2034,SC2154 # ranks.sh sets job and rank_1, and reads endless and launch
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/ranks.sh"
program=$(realpath "$1")
communicator=$(realpath "$2")
parts=${3:-laws training faults}
skip() {
  echo "SKIPPED: $*"
  exit 77
}
"$program" version | grep -q "several GPUs by NCCL" || skip "this build has no NCCL"
[ "$(nvidia-smi --list-gpus 2>/dev/null | wc -l)" -ge 2 ] || skip "two GPUs are required"
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"

for i in $(seq 60); do echo "the cat $((i * 7 % 13)) sat on the mat, and the dog $((i * 5 % 11)) ran after it"; done >text.txt
model=(--data text.txt --layers 2 --d-model 64 --heads 4 --context 32 --sample-tokens 0)
tiny=("${model[@]}" --warmup 10 --device cuda --eval-every 50 --save-every 50 --log-every 1)
train() { "$program" train "${tiny[@]}" --lr 0.003 "$@" 2>said.txt || { cat said.txt; fail "train $*"; }; }
two() { on_ranks 2 "$program" train "${tiny[@]}" --lr 0.003 "$@" 2>said.txt || { cat said.txt; fail "train on 2 GPUs: $*"; }; }

laws() { on_ranks 2 "$communicator" device || fail "sums on devices"; }

# Norms within 1e-5: on a GPU micro-batches are added within the products, in another order than ranks are.
training() {
  train --steps 100 --batch 4 --accumulate 2 --out one
  two --steps 100 --batch 8 --out two
  same_losses one two "100 steps of 2 GPUs and of 2 micro-batches" 1e-5
  two --steps 100 --batch 8 --out again
  same_weights two again "repeated"
  two --steps 100 --batch 8 --bucket-mb 1 --out small
  same_losses two small "smaller pieces" 1e-5

  local ordered=(--steps 40 --dropout 0.1 --clip 0.5)
  train "${ordered[@]}" --batch 2 --accumulate 6 --out dropout
  two "${ordered[@]}" --batch 4 --accumulate 3 --out dropout2
  same_losses dropout dropout2 "dropout, clipping and accumulation" 1e-5
  train --steps 40 --batch 5 --out five
  two --steps 40 --batch 5 --out five2
  same_losses five five2 "a batch of 5" 1e-5
  two --steps 40 --batch 8 --reduce-dtype bf16 --out half
  two --steps 40 --batch 8 --reduce-dtype bf16 --out half2
  same_weights half half2 "gradients in bf16, repeated"
  two --steps 40 --batch 8 --precision bf16 --out bf16
  two --steps 40 --batch 8 --precision bf16 --out bf16b
  same_weights bf16 bf16b "bf16, repeated"
  local task=(--task "mqar(length=32, pairs=4, vocab=64)" --layers 1 --d-model 32 --heads 2 --batch 4 --steps 40 --log-every 1 --device cuda)
  "$program" train "${task[@]}" --out task 2>said.txt || { cat said.txt; fail "task"; }
  on_ranks 2 "$program" train "${task[@]}" --out task2 2>said.txt || { cat said.txt; fail "task on 2 GPUs"; }
  same_losses task task2 "a task" 1e-5
  local documents=(--steps 40 --batch 4 --document-token . --reset-state)
  train "${documents[@]}" --out documents
  two "${documents[@]}" --out documents2
  same_losses documents documents2 "documents, whose steps the host drives" 1e-5

  two --steps 40 --batch 8 --out whole
  two --steps 40 --batch 8 --shard optimizer --out divided
  same_weights whole divided "moments divided over 2 GPUs"
  MIXGRAD_TRANSPORT=tcp two --steps 40 --batch 8 --out by_tcp # NCCL's identifier travels by TCP
  same_weights whole by_tcp "NCCL joined by TCP"
  two --steps 40 --batch 8 --precision bf16 --shard optimizer --out divided16
  same_weights bf16 divided16 "moments and masters divided over 2 GPUs, bf16"
  two --steps 40 --batch 8 --precision bf16 --reduce-dtype bf16 --out half16
  two --steps 40 --batch 8 --precision bf16 --reduce-dtype bf16 --shard optimizer --out half16d
  same_weights half16 half16d "the same with gradients in bf16"
  two "${documents[@]}" --shard optimizer --out documents2d
  same_weights documents2 documents2d "divided, the host drives the steps"
  two --steps 60 --batch 6 --precision bf16 --shard optimizer --out shared --stop-after 20
  on_ranks 2 "$program" train --resume shared --shard none --device cuda --sample-tokens 0 --stop-after 40 2>said.txt || { cat said.txt; fail "resume undivided"; }
  on_ranks 2 "$program" train --resume shared --shard optimizer --device cuda --sample-tokens 0 2>said.txt || { cat said.txt; fail "resume divided"; }
  two --steps 60 --batch 6 --precision bf16 --out unshared
  same_weights shared unshared "divided, whole and divided one after the other"

  two --steps 60 --batch 6 --out moved --stop-after 20
  "$program" train --resume moved --device cuda --sample-tokens 0 --stop-after 40 2>said.txt || { cat said.txt; fail "resume on one GPU"; }
  on_ranks 2 "$program" train --resume moved --device cuda --sample-tokens 0 2>said.txt || { cat said.txt; fail "resume on 2 GPUs"; }
  train --steps 60 --batch 6 --out stayed
  same_losses stayed moved "2, 1 and 2 GPUs one after the other" 1e-5
  two --steps 100 --batch 8 --out parts --stop-after 30
  on_ranks 2 "$program" train --resume parts --device cuda --sample-tokens 0 2>said.txt || { cat said.txt; fail "resume on 2 GPUs"; }
  same_weights two parts "stopped and resumed on 2 GPUs"

  for run in two task; do
    "$program" eval --checkpoint "$run" --device cuda --json >alone.json 2>said.txt || fail "eval $run: $(cat said.txt)"
    on_ranks 2 "$program" eval --checkpoint "$run" --device cuda --json >ranks.json 2>said.txt || fail "eval $run: $(cat said.txt)"
    cmp alone.json ranks.json || fail "eval $run differs on 2 GPUs"
  done
  must_say 2 "each takes the device of its own number" on_ranks 2 "$program" train "${model[@]}" --steps 9 --batch 8 --out refused --device cuda:0
  must_say 2 "--reduce-order rank is for processes on CPUs" on_ranks 2 "$program" train "${tiny[@]}" --steps 9 --batch 8 --out refused --reduce-order rank
  local devices
  devices=$(nvidia-smi --list-gpus | wc -l)
  [ "$devices" -gt 2 ] || must_say 2 "each rank must have a device of its own" on_ranks 3 "$program" train "${tiny[@]}" --steps 9 --batch 8 --out refused
}

endless=(train "${model[@]}" --device cuda --warmup 10 --batch 8 --steps 1000000 --save-every 200 --log-every 200 --eval-every 0 --lr 0.001 --timeout 8)

faults() {
  launch=()
  begin signal
  kill -TERM "$rank_1"
  ended signal 143
  says signal "mixgrad: stopped by SIGTERM after step"
  resumes signal --device cuda

  launch=(--enable-recovery)
  begin killed
  kill -KILL "$rank_1"
  wait "$job" || true
  says killed "rank 1 of 2 did not take part in"
  resumes killed --device cuda
  launch=()
  begin hangs # mpirun ends the one that is stopped, too
  kill -STOP "$rank_1"
  wait "$job" || true
  kill -KILL "$rank_1" 2>/dev/null || true
  says hangs "rank 1 of 2 did not take part in"
  resumes hangs --device cuda

  # A CUDA call that fails at rank 1.
  local begin_of=(--quiet --bind-to none -n 1 "$program" "${endless[@]}" --out cuda)
  mpirun "${begin_of[@]}" : -n 1 -x MIXGRAD_FAULT=cuda:5000 "$program" "${endless[@]}" --out cuda >cuda.said 2>&1 || true
  says cuda "asked to fail by MIXGRAD_FAULT"

  local bad=(train "${model[@]}" --device cuda --batch 8 --lr 1000 --lr-scale '*=1000' --schedule constant --clip 1e30 --weight-decay 0 --steps 20 --warmup 0 --eval-every 0)
  must_say 1 "; no weight was changed by this step" on_ranks 2 "$program" "${bad[@]}" --out bad
}

for part in $parts; do $part; done
echo "two GPUs, $parts: as it must be"
