#!/usr/bin/env bash
# Training on several ranks: the same numbers as one process, resuming on other numbers of ranks, refusals.
#   training.sh PATH/TO/mixgrad
# Exit code 77, which ctest reports as skipped, where there is no mpirun.
set -euo pipefail
# shellcheck disable=SC1091
source "$(dirname "${BASH_SOURCE[0]}")/ranks.sh"
program=$(realpath "$1")
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"

for i in $(seq 60); do echo "the cat $((i * 7 % 13)) sat on the mat, and the dog $((i * 5 % 11)) ran after it"; done >text.txt
tiny=(--data text.txt --layers 1 --d-model 16 --heads 2 --context 8 --threads 1 --warmup 10 --sample-tokens 0
  --eval-every 50 --save-every 50 --log-every 1)
train() { "$program" train "${tiny[@]}" --lr 0.003 "$@" 2>>said.txt || { cat said.txt; fail "train $*"; }; }
train_on() {
  local ranks=$1
  shift
  on_ranks "$ranks" "$program" train "${tiny[@]}" --lr 0.003 "$@" 2>>said.txt || { cat said.txt; fail "train on $ranks ranks: $*"; }
}

# An evaluation has the digits that one process prints.
same_evaluation() {
  "$program" eval --checkpoint "$1" --json >alone.json 2>said.txt || fail "eval $1: $(cat said.txt)"
  on_ranks 3 "$program" eval --checkpoint "$1" --json >ranks.json 2>said.txt || fail "eval $1: $(cat said.txt)"
  cmp alone.json ranks.json || fail "eval $1 differs on 3 ranks"
}

# What the heads do, too: on a text of several batches, each run by one of the ranks.
same_analysis() {
  for _ in $(seq 8); do cat text.txt; done >long.txt
  local heads=(analyze heads --checkpoint "$1" --data long.txt --split all --sequences 4000 --json)
  "$program" "${heads[@]}" >alone.json 2>said.txt || fail "analyze $1: $(cat said.txt)"
  on_ranks 3 "$program" "${heads[@]}" >ranks.json 2>said.txt || fail "analyze $1: $(cat said.txt)"
  cmp alone.json ranks.json || fail "analyze $1 differs on 3 ranks"
}

same_numbers() {
  # Two ranks against one: to 1e-6 over 100 steps, and with dropout, accumulation and clipping bit for bit in rank order.
  train --steps 100 --batch 2 --accumulate 2 --out one
  train_on 2 --steps 100 --batch 4 --out two
  same_losses one two "100 steps of 2 ranks and of 2 micro-batches"
  [ "$(grep -c . two/metrics.jsonl)" = 100 ] || fail "metrics.jsonl has other lines than those of rank 0"
  train_on 2 --steps 100 --batch 4 --out again
  same_weights two again "repeated on as many ranks"

  ordered=(--steps 40 --dropout 0.1 --clip 0.5 --reduce-order rank)
  train "${ordered[@]}" --batch 1 --accumulate 6 --out ordered
  train_on 3 "${ordered[@]}" --batch 3 --accumulate 2 --bucket-mb 1 --out ordered3
  train_on 2 "${ordered[@]}" --batch 2 --accumulate 3 --out ordered2
  same_weights ordered ordered3 "rank order on 3 ranks"
  same_weights ordered ordered2 "rank order on 2 ranks"
  [ "$(validation ordered)" = "$(validation ordered3)" ] || fail "the validation of 3 ranks is not that of one process"

  # Stopped and resumed on as many ranks: the bits of the run that was not stopped.
  train_on 2 --steps 100 --batch 4 --out parts --stop-after 30
  on_ranks 2 "$program" train --resume parts --sample-tokens 0 2>said.txt || { cat said.txt; fail "resume on 2 ranks"; }
  same_weights two parts "stopped and resumed on 2 ranks"
  same_evaluation two
  same_analysis two
  must_say 2 "analyze: --data - is the standard input" on_ranks 2 "$program" analyze heads --checkpoint two --data -
  # Ranks that were given different work are told so: a share of each would be a number that means nothing.
  sed 's/cat/mat/' text.txt >mats.txt # as many tokens
  different() { # TEXT VERB REST-OF-RANK-0 REST-OF-RANK-1
    local words=() first=() second=()
    read -ra words <<<"$2"
    read -ra first <<<"$3"
    read -ra second <<<"$4"
    must_say 2 "rank 1: $1 must be that of rank 0" mpirun --quiet --bind-to none \
      -n 1 "$program" "${words[@]}" "${first[@]}" : -n 1 "$program" "${words[@]}" "${second[@]}"
  }
  different "--sequences" "analyze heads --checkpoint two" "--sequences 8" "--sequences 9"
  different "--window" "analyze heads --checkpoint two" "--window 2" "--window 3"
  different "the sequences, as XXH3," "analyze heads --checkpoint two --split all" "--data text.txt" "--data mats.txt"
  different "the weights, as XXH3," "analyze heads" "--checkpoint two" "--checkpoint ordered"
  different "--batch" "eval --checkpoint two" "--batch 2" "--batch 3"
  different "the tokens, as XXH3," "eval --checkpoint two --split all" "--data text.txt" "--data mats.txt"
  different "the weights, as XXH3," "eval" "--checkpoint two" "--checkpoint ordered"
  must_say 2 "eval: --data - is the standard input, which one process alone has; got 2 processes" on_ranks 2 "$program" eval --checkpoint two --data -
}

divided_state() {
  # Moments and bf16 masters divided over ranks, parts of which stay in f32: the bits of whole ones in rank order, and on 2
  # ranks in any. A checkpoint of one kind is resumed as the other.
  for job in "f32 3 rank" "bf16 3 rank" "bf16 2 any"; do
    read -r precision ranks order <<<"$job"
    half=(--steps 40 --batch 6 --dropout 0.1 --clip 0.5 --precision "$precision" --reduce-order "$order" --mixer recurformer)
    train_on "$ranks" "${half[@]}" --out "whole-$precision-$ranks"
    train_on "$ranks" "${half[@]}" --shard optimizer --out "divided-$precision-$ranks"
    same_weights "whole-$precision-$ranks" "divided-$precision-$ranks" "moments divided, $job"
    [ "$(validation "whole-$precision-$ranks")" = "$(validation "divided-$precision-$ranks")" ] || fail "validation of divided moments, $job"
  done
  train_on 2 --steps 40 --batch 4 --accumulate 2 --precision bf16 --reduce-dtype bf16 --out sent
  train_on 2 --steps 40 --batch 4 --accumulate 2 --precision bf16 --reduce-dtype bf16 --shard optimizer --out sent-divided
  same_weights sent sent-divided "moments divided, gradients sent as bf16"
  train_on 2 --steps 60 --batch 6 --shard optimizer --out shared --stop-after 20
  on_ranks 2 "$program" train --resume shared --shard none --sample-tokens 0 --stop-after 40 2>said.txt || { cat said.txt; fail "resume undivided"; }
  on_ranks 2 "$program" train --resume shared --shard optimizer --sample-tokens 0 2>said.txt || { cat said.txt; fail "resume divided"; }
  train_on 2 --steps 60 --batch 6 --out unshared
  same_weights shared unshared "divided, whole and divided one after the other"
  must_say 2 "its state cannot be divided over ranks" on_ranks 2 "$program" train "${tiny[@]}" --steps 9 --batch 4 --optimizer muon --shard optimizer --out muon
}

other_batches() {
  # A batch that does not divide, gradients in bf16, a task whose targets are unequal in number.
  train --steps 40 --batch 5 --out five
  train_on 2 --steps 40 --batch 5 --out five2
  same_losses five five2 "a batch of 5 on 2 ranks"
  train_on 2 --steps 40 --batch 4 --reduce-dtype bf16 --out half
  task=(--task "mqar(length=32, pairs=4, vocab=64)" --layers 1 --d-model 16 --heads 2 --threads 1 --batch 4 --steps 40 --log-every 1)
  "$program" train "${task[@]}" --out task 2>said.txt || { cat said.txt; fail "task"; }
  on_ranks 2 "$program" train "${task[@]}" --out task2 2>said.txt || { cat said.txt; fail "task on 2 ranks"; }
  same_losses task task2 "a task on 2 ranks"
  [ "$(validation task | cut -c1-17)" = "$(validation task2 | cut -c1-17)" ] || fail "the task's validation on 2 ranks"

  # Saved by 2 ranks, resumed on 3, then by one process: the samples and the schedule of one run.
  train_on 2 --steps 60 --batch 6 --reduce-order rank --out moved --stop-after 20
  on_ranks 3 "$program" train --resume moved --sample-tokens 0 --stop-after 40 2>said.txt || { cat said.txt; fail "resume on 3 ranks"; }
  "$program" train --resume moved --sample-tokens 0 2>said.txt || { cat said.txt; fail "resume by one process"; }
  train --steps 60 --batch 6 --out stayed
  same_losses stayed moved "2, 3 and 1 ranks one after the other"
  same_evaluation task
}

plans_and_refusals() {
  must_say 0 "scaling" on_ranks 2 "$program" bench train --layers 1 --d-model 16 --heads 2 --context 8 --batch 4 --threads 1 --rounds 3
  must_say 2 "bench comm: several processes are required" "$program" bench comm


  # The plan is that of one process, said once; the trace of a step is written once, by rank 0.
  plan=(train "${tiny[@]}" --batch 5 --plan --out planned)
  on_ranks 2 "$program" "${plan[@]}" >plan2.txt 2>said.txt || fail "plan on 2 ranks: $(cat said.txt)"
  grep -q "one of 2 processes, which runs at most 3 of the 5 sequences" said.txt || fail "the plan does not say what of: $(cat said.txt)"
  "$program" train "${tiny[@]}" --batch 3 --plan --out planned | cmp - plan2.txt || fail "the plan of 2 ranks is not that of 3 sequences, said once"
  # It counts what the job adds and spares: a second buffer of gradients in rank order, moments divided over the ranks.
  measured() { # bytes
    sed -nE 's/.*tensors took at most ([0-9.]+) (KiB|MiB).*/\1 \2/p' said.txt | awk '{ print $1 * ($2 == "MiB" ? 1048576 : 1024) }'
  }
  for job in "--reduce-order rank" "--shard optimizer" "--shard optimizer --precision bf16" "--reduce-order any --precision bf16" \
    "--shard optimizer --reduce-order rank"; do
    read -ra options <<<"$job"
    wide=(train --data text.txt --layers 1 --d-model 96 --heads 2 --context 8 --threads 1 --batch 4 --steps 2 --warmup 1
      --eval-every 0 "${options[@]}")
    on_ranks 2 "$program" "${wide[@]}" --plan --json >plan2.txt 2>said.txt || fail "plan $job: $(cat said.txt)"
    on_ranks 2 "$program" "${wide[@]}" --sample-tokens 0 --out "wide${job// /}" 2>said.txt || fail "run $job: $(cat said.txt)"
    sed -nE 's/.*"peak": *([0-9]+).*/\1/p' plan2.txt | awk -v measured="$(measured)" '
      { planned = $1 } END { exit !(measured > 0 && planned / measured > 0.95 && planned / measured < 1.05) }' ||
      fail "$job: the run took $(measured) bytes: $(cat plan2.txt)"
    sed -nE 's/.*"optimizer": *([0-9]+).*/\1/p' plan2.txt >>states.txt
    cat plan2.txt >>plans.txt
  done
  awk '{ state[NR] = $1 } END { share = state[2] / state[1]; masters = state[3] / state[4]
      exit !(NR == 5 && share > 0.4 && share < 0.7 && masters > 0.4 && masters < 0.7) }' states.txt ||
    fail "each of two processes has about half of the state: $(cat states.txt)"
  sed -nE 's/.*"parameters": *([0-9]+).*/\1/p' plans.txt | awk '{ bytes[NR] = $1 }
    END { share = bytes[3] / bytes[4]; exit !(NR == 5 && share > 0.6 && share < 0.8) }' ||
    fail "of 6 bytes a parameter each of two processes has about 4: $(cat plans.txt)"

  mkdir rank0 rank1
  traced=("$program" bench train --layers 1 --d-model 16 --heads 2 --context 8 --batch 4 --threads 1 --rounds 1 --trace step.json)
  mpirun --quiet --bind-to none -n 1 --wdir "$PWD/rank0" "${traced[@]}" : -n 1 --wdir "$PWD/rank1" "${traced[@]}" >said.txt 2>&1 ||
    fail "bench train --trace on 2 ranks: $(cat said.txt)"
  [ -s rank0/step.json ] || fail "rank 0 wrote no trace"
  [ ! -e rank1/step.json ] || fail "rank 1 wrote a trace, too"

  # Refused before the first step, with the rank and what differs.
  refused=(train "${tiny[@]}" --steps 9 --out "$PWD/refused")
  must_say 2 "rank 1: --lr must be that of rank 0" mpirun --quiet --bind-to none \
    -n 1 "$program" "${refused[@]}" --batch 4 : -n 1 "$program" "${refused[@]}" --batch 4 --lr 0.02
  mkdir elsewhere
  sed 's/cat/cow/' text.txt >elsewhere/text.txt # as many bytes
  must_say 2 "rank 1: the text, as XXH3, must be that of rank 0" mpirun --quiet --bind-to none \
    -n 1 "$program" "${refused[@]}" --batch 4 : -n 1 --wdir "$PWD/elsewhere" "$program" "${refused[@]}" --batch 4
  must_say 2 "--batch is that of all processes together and must be at least their number, 2; got 1" on_ranks 2 "$program" "${refused[@]}" --batch 1
  [ ! -e refused ] || fail "a refused run left a folder"
  must_say 2 "each takes the device of its own number on the host" on_ranks 2 "$program" "${refused[@]}" --batch 4 --device cuda:0
  must_say 2 "--bucket-mb cannot be given here: it belongs to a job of several processes" "$program" "${refused[@]}" --bucket-mb 2
}

side_by_side same_numbers divided_state other_batches plans_and_refusals
echo "training on several ranks: as it must be"
