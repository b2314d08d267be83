#!/usr/bin/env bash
# Processes that TCP connects: the laws of the communicator, places to meet, strangers at the port, training and faults.
#   tcp.sh PATH/TO/mixgrad PATH/TO/communicator_ranks [laws | meeting | training | faults]
# It sets for each process what torchrun sets, or lets them meet by a file.
# shellcheck disable=SC1091,SC2034,SC2154 # ranks.sh sets job, rank_1 and port, and reads endless and launcher
set -euo pipefail
launcher=torchrun
source "$(dirname "${BASH_SOURCE[0]}")/ranks.sh"
program=$(realpath "$1")
communicator=$(realpath "$2")
parts=${3:-laws meeting training faults}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
for i in $(seq 60); do echo "the cat $((i * 7 % 13)) sat on the mat, and the dog $((i * 5 % 11)) ran after it"; done >text.txt

laws() {
  for ranks in 2 3; do
    on_ranks "$ranks" "$communicator" laws || fail "on $ranks ranks: exit code $?"
  done
  must_say 4 "rank 1 of 2 did not take part in the end of the test within 2 s" on_ranks 2 "$communicator" silent
  must_say 4 "rank 2 of 3 stopped: the disk is full" on_ranks 3 "$communicator" leaves
  must_say 4 "rank 2 of 3 is gone: its connection ended without a farewell" on_ranks 3 "$communicator" gone
  must_say 4 "rank 1 of 2 ended its part of the job before the end of the test" on_ranks 2 "$communicator" early
  must_say 4 "of 2 is at another call" on_ranks 2 "$communicator" other
}

# Sets what RANK of 2 gets from torchrun whose agent listens at the port, of the job NAME.
agent() {
  env RANK="$1" LOCAL_RANK="$1" WORLD_SIZE=2 MASTER_ADDR=127.0.0.1 MASTER_PORT="$port" \
    TORCHELASTIC_USE_AGENT_STORE=True TORCHELASTIC_RUN_ID="$2" "${@:3}"
}

# Until somebody listens at the port; leaves a connection to it as descriptor 5.
reach() {
  for _ in $(seq 100); do
    ! { exec 5<>"/dev/tcp/127.0.0.1/$1"; } 2>/dev/null || return 0
    sleep 0.05
  done
  fail "nobody listens at port $1"
}

meeting() {
  # A file, in folders that have to be made, after one that another job left; no trace remains.
  launcher=by_file
  on_ranks 3 "$communicator" meet some/where || fail "the ranks do not meet by a file"
  [ ! -e some ] || fail "the folders of the meeting are still there"
  mkdir place
  printf 'mixgrad ranks.meet 1\n%s\n%s\n127.0.0.1\n' 0123456789abcdef0123456789abcdef "$port" >place/ranks.meet
  RANK=1 WORLD_SIZE=2 "$communicator" meet place &
  local early=$!
  sleep 0.3
  RANK=0 WORLD_SIZE=2 "$communicator" meet place || fail "a file that was left over keeps the ranks apart"
  wait "$early" || fail "rank 1 was there before the file"
  [ ! -e place/ranks.meet ] || fail "the file is still there"
  must_say 2 "(--out, --resume, --checkpoint); got neither" on_ranks 2 "$program" bench comm

  # A port that is taken; with torchrun's agent there, one of those behind it.
  launcher=torchrun
  "$communicator" listen "$port" &
  local agent=$!
  "$communicator" listen $((port + 1)) &
  local silent=$!
  reach "$port"
  reach $((port + 1))
  agent 1 a "$communicator" meet &
  early=$!
  agent 0 a "$communicator" meet || fail "rank 0 finds no port behind that of the agent"
  wait "$early" || fail "rank 1 finds no port behind that of the agent"
  must_say 4 "rank 0 must listen at 127.0.0.1, port $port (MASTER_ADDR, MASTER_PORT); got: Address already in use" \
    env RANK=0 WORLD_SIZE=2 MASTER_ADDR=127.0.0.1 MASTER_PORT="$port" "$program" bench comm --timeout 1
  kill "$agent" "$silent"
  wait "$agent" "$silent" || true

  # Strangers that come to the port and say nothing, garbage, or less than a greeting; and a process of another job.
  RANK=0 WORLD_SIZE=2 MASTER_ADDR=127.0.0.1 MASTER_PORT=$port "$communicator" meet &
  local job=$!
  reach "$port"
  exec 6<>"/dev/tcp/127.0.0.1/$port" 7<>"/dev/tcp/127.0.0.1/$port"
  head -c 5000 /dev/urandom 2>/dev/null >&6 || true # it is dropped within the first bytes
  printf '1dargxim' >&7
  agent 1 other timeout 1 "$communicator" meet && fail "a process of another job took part"
  must_say 4 "rank 1 of 3 found no rank 0" env RANK=1 WORLD_SIZE=3 MASTER_ADDR=127.0.0.1 MASTER_PORT="$port" \
    "$program" bench comm --timeout 1
  RANK=1 WORLD_SIZE=2 MASTER_ADDR=127.0.0.1 MASTER_PORT=$port "$communicator" meet || fail "rank 1 beside strangers"
  wait "$job" || fail "rank 0 beside strangers"
  exec 5>&- 6>&- 7>&-
  # A rank that is missing: rank 0 names it, and the others do not say that rank 0 is.
  RANK=0 WORLD_SIZE=3 MASTER_ADDR=127.0.0.1 MASTER_PORT=$port "$program" bench comm --timeout 3 >said.txt 2>&1 &
  job=$!
  must_say 4 "rank 1 of 3 reached rank 0, where others are missing, at 127.0.0.1:$port within 2 s" \
    env RANK=1 WORLD_SIZE=3 MASTER_ADDR=127.0.0.1 MASTER_PORT="$port" "$program" bench comm --timeout 2
  wait "$job" && fail "rank 0 takes two ranks for three"
  grep -qF "rank 1 and rank 2 of 3 did not come to rank 0" said.txt || fail "rank 0 of an incomplete job: $(cat said.txt)"
  must_say 4 "rank 1 of 2 did not come to rank 0 at 127.0.0.1:$port within 1 s" \
    env RANK=0 WORLD_SIZE=2 MASTER_ADDR=127.0.0.1 MASTER_PORT="$port" "$program" bench comm --timeout 1
}

tiny=(--data text.txt --layers 1 --d-model 16 --heads 2 --context 8 --threads 1 --warmup 10 --sample-tokens 0
  --eval-every 0 --save-every 50 --log-every 1 --lr 0.003)
train() { "$program" train "${tiny[@]}" "$@" 2>said.txt || { cat said.txt; fail "train $*"; }; }
train_on() { on_ranks "$1" "$program" train "${@:2}" 2>said.txt || { cat said.txt; fail "train on $1 ranks: ${*:2}"; }; }

training() {
  train --steps 40 --batch 2 --accumulate 2 --out one
  train_on 2 "${tiny[@]}" --steps 40 --batch 4 --out two
  same_losses one two "40 steps of 2 ranks and of 2 micro-batches"
  train_on 2 "${tiny[@]}" --steps 40 --batch 4 --out again
  same_weights two again "repeated on as many ranks"
  train --steps 40 --batch 2 --accumulate 3 --reduce-order rank --dropout 0.1 --clip 0.5 --out ordered
  train_on 3 "${tiny[@]}" --steps 40 --batch 6 --reduce-order rank --dropout 0.1 --clip 0.5 --out ordered3
  same_weights ordered ordered3 "rank order on 3 ranks"

  # Saved by 2 ranks, resumed on 3, which meet in the folder of the run, then by one process.
  train_on 2 "${tiny[@]}" --steps 60 --batch 6 --reduce-order rank --out moved --stop-after 20
  launcher=by_file train_on 3 --resume moved --sample-tokens 0 --stop-after 40
  "$program" train --resume moved --sample-tokens 0 2>said.txt || { cat said.txt; fail "resume by one process"; }
  train --steps 60 --batch 6 --out stayed
  same_losses stayed moved "2, 3 and 1 ranks one after the other"
  "$program" eval --checkpoint two --json >alone.json 2>said.txt || fail "eval: $(cat said.txt)"
  launcher=by_file on_ranks 2 "$program" eval --checkpoint two --json >ranks.json 2>said.txt || fail "eval on 2 ranks: $(cat said.txt)"
  cmp alone.json ranks.json || fail "eval differs on 2 ranks"
}

endless=(train --data text.txt --layers 1 --d-model 16 --heads 2 --context 8 --batch 4 --threads 1 --warmup 2 --lr 0.001
  --sample-tokens 0 --steps 1000000 --save-every 50 --log-every 50)

faults() {
  # A signal while the others are waited for: the run leaves nothing.
  RANK=0 WORLD_SIZE=2 "$program" "${endless[@]}" --out early >early.said 2>&1 &
  local early=$! status=0 settings
  for _ in $(seq 100); do
    [ ! -e early/ranks.meet ] || break
    sleep 0.05
  done
  kill -TERM "$early"
  wait "$early" || status=$?
  [ "$status" = 143 ] || fail "exit code $status of a signal while ranks are waited for"
  says early "stopped by SIGTERM while it waited for the other processes of its job"
  [ ! -e early ] || fail "a run that was not begun left a folder"

  # A signal at rank 1: both stop after the same step, rank 0 saves it.
  begin signal
  kill -TERM "$rank_1"
  ended signal 143
  says signal "mixgrad: stopped by SIGTERM after step"
  wait "$rank_1" && fail "rank 1 is to end with the signal's code"
  resumes signal

  # Nobody reads what rank 0 prints any more: both stop after the same step, which is saved.
  local reader=(train --data text.txt --layers 1 --d-model 16 --heads 2 --context 8 --batch 4 --threads 1 --warmup 2 --steps 1000000
    --save-every 1000000 --eval-every 0 --log-every 10 --shard optimizer --json --out reader)
  set_rank 1 2
  "${settings[@]}" "$program" "${reader[@]}" >reader.said_by_1 2>&1 &
  rank_1=$!
  set_rank 0 2
  { status=0; "${settings[@]}" "$program" "${reader[@]}" 2>reader.said || status=$?; echo "$status" >reader.status; } | head -n 1 >/dev/null
  [ "$(cat reader.status)" = 141 ] || fail "exit code $(cat reader.status) without a reader: $(cat reader.said)"
  status=0
  wait "$rank_1" || status=$?
  [ "$status" = 141 ] || fail "exit code $status of rank 1 without a reader: $(cat reader.said_by_1)"
  says reader "stopped by SIGPIPE"
  resumes reader

  # A rank that is killed is named at once, long before --timeout.
  launcher=by_file
  begin killed
  kill -KILL "$rank_1"
  SECONDS=0
  ended killed 4
  [ "$SECONDS" -le 3 ] || fail "a rank that is gone was noticed after $SECONDS s"
  says killed "rank 1 of 2 is gone: its connection ended without a farewell"
  resumes killed
}

for part in $parts; do
  SECONDS=0
  $part
  echo "TCP, $part: as it must be, $SECONDS s"
done
