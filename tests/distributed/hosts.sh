#!/usr/bin/env bash
# Two hosts: two network namespaces of this machine with a cable between them (a veth pair). The laws of the communicator
# over it, both ways to meet, training, and what a rank says when the cable is cut.
#   hosts.sh PATH/TO/mixgrad PATH/TO/communicator_ranks
# Exit code 77, which ctest reports as skipped, where this user may make no namespaces, or there is no `ip` (iproute2).
# shellcheck disable=SC1091,SC2034 # ranks.sh reads launcher
set -euo pipefail
launcher=torchrun
source "$(dirname "${BASH_SOURCE[0]}")/ranks.sh"
program=$(realpath "$1")
communicator=$(realpath "$2")
first=mixgrad-a-$$ second=mixgrad-b-$$
folder=$(mktemp -d)
clean_up() {
  ip netns delete "$first" 2>/dev/null || true
  ip netns delete "$second" 2>/dev/null || true
  rm -rf "$folder"
}
trap clean_up EXIT
skip() {
  echo "SKIPPED: $*"
  exit 77
}
command -v ip >/dev/null || skip "two hosts are two network namespaces, and there is no ip (Debian: iproute2)"
for host in "$first" "$second"; do
  ip netns add "$host" 2>/dev/null || skip "this user may make no network namespaces"
done
ip -n "$first" link add cable type veth peer name cable netns "$second" 2>/dev/null || skip "there is no veth here"
ip -n "$first" address add 10.99.0.1/24 dev cable
ip -n "$second" address add 10.99.0.2/24 dev cable
for host in "$first" "$second"; do
  ip -n "$host" link set cable up
  ip -n "$host" link set lo up
done
cd "$folder"

# RANK SIZE HOST [NAME=VALUE]... COMMAND
rank_on() { ip netns exec "$3" env RANK="$1" LOCAL_RANK=0 WORLD_SIZE="$2" "${@:4}"; }
address=(MASTER_ADDR=10.99.0.1 MASTER_PORT="$port")

# Ranks 0 and 2 on one host, 1 and 3 on the other: by the address, and by a file that both see.
everywhere() {
  local pids=() rank hosts=("$first" "$second")
  for rank in 0 1 2 3; do
    rank_on "$rank" 4 "${hosts[rank % 2]}" "$@" &
    pids+=($!)
  done
  for pid in "${pids[@]}"; do wait "$pid" || fail "on two hosts: $*"; done
}
everywhere "${address[@]}" "$communicator" laws
everywhere "$communicator" meet shared

for i in $(seq 60); do echo "the cat $((i * 7 % 13)) sat on the mat, and the dog $((i * 5 % 11)) ran after it"; done >text.txt
tiny=(train --data text.txt --layers 1 --d-model 16 --heads 2 --context 8 --threads 1 --warmup 10 --sample-tokens 0
  --eval-every 0 --log-every 1 --steps 40 --reduce-order rank)
everywhere "${address[@]}" "$program" "${tiny[@]}" --batch 4 --out four 2>said.txt || { cat said.txt; exit 1; }
"$program" "${tiny[@]}" --batch 1 --accumulate 4 --out one 2>said.txt || { cat said.txt; exit 1; }
same_weights one four "four ranks on two hosts, and one process"

# The cable is cut: neither side is told, so the time limit ends the wait.
rank_on 1 2 "$second" "${address[@]}" "$program" bench comm --timeout 2 --rounds 1000000 >far.txt 2>&1 &
far=$!
rank_on 0 2 "$first" "${address[@]}" "$program" bench comm --timeout 2 --rounds 1000000 >near.txt 2>&1 &
near=$!
sleep 1
kill -0 "$near" "$far" || fail "the job ended before the cable was cut: $(cat near.txt far.txt)"
ip -n "$first" link set cable down
status=0
wait "$near" || status=$?
wait "$far" || true
[ "$status" = 4 ] || fail "exit code $status after the cable was cut: $(cat near.txt)"
grep -qF "rank 1 of 2 did not take part in" near.txt || fail "after the cable was cut: $(cat near.txt)"
grep -qF "rank 0 of 2 did not take part in" far.txt || fail "after the cable was cut: $(cat far.txt)"
echo "two hosts: as it must be"
