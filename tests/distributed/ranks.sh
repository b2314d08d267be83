# shellcheck shell=bash disable=SC2154 # program, endless and launch are those of the test
# Sourced by the tests that start several processes: on_ranks N PROGRAM ARGUMENTS, fail TEXT, must_say CODE TEXT COMMAND,
# comparisons of two runs, and jobs in the background, one of whose processes gets a signal.
# `launcher` says how processes are started: mpirun (if it is not set), torchrun, by what torchrun sets in the environment
# of each, or by_file, where nothing says at which address they meet.
launcher=${launcher:-mpirun}
if [ "$launcher" = mpirun ] && ! command -v mpirun >/dev/null; then
  echo "SKIPPED: these tests start several processes, and there is no mpirun (Debian: openmpi-bin)"
  exit 77
fi
# Several ranks on few cores, as any user, over shared memory or the loopback.
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_rmaps_base_oversubscribe=1
export OMPI_MCA_btl_vader_single_copy_mechanism=none OMPI_MCA_btl_base_warn_component_unused=0
export OMP_WAIT_POLICY=passive
port=$((20000 + RANDOM % 12000)) # below those that the system gives away by itself

on_ranks() {
  if [ "$launcher" != mpirun ]; then
    by_tcp "$@"
    return
  fi
  local ranks=$1
  shift
  mpirun --quiet --bind-to none -n "$ranks" "$@"
}

# Sets `settings` to what the launcher sets for a rank: RANK SIZE
set_rank() {
  settings=(env RANK="$1" LOCAL_RANK="$1" WORLD_SIZE="$2")
  [ "$launcher" != torchrun ] || settings+=(MASTER_ADDR=127.0.0.1 MASTER_PORT="$port")
}
# Starts the ranks and waits for them; the first that ends with an error gives the exit code, and a second later ends
# the others.
by_tcp() {
  local ranks=$1 pids=() status=0 left=50 code i rank settings
  shift
  for rank in $(seq 0 $((ranks - 1))); do
    set_rank "$rank" "$ranks"
    "${settings[@]}" "$@" &
    pids+=($!)
  done
  while [ ${#pids[@]} -gt 0 ]; do
    for i in "${!pids[@]}"; do
      ! kill -0 "${pids[i]}" 2>/dev/null || continue
      code=0
      wait "${pids[i]}" || code=$?
      unset "pids[i]"
      [ "$status" != 0 ] || status=$code
    done
    sleep 0.02
    [ "$status" = 0 ] || left=$((left - 1))
    if [ "$left" = 0 ]; then kill "${pids[@]}" 2>/dev/null || true; fi
  done
  return "$status"
}

fail() {
  echo "FAILED: $*" >&2
  exit 1
}

# Runs these functions at the same time, since most of their time is the launcher's: each in a folder of its own with a
# copy of text.txt. Prints what those that fail have printed.
side_by_side() {
  local name at status=0 jobs=()
  for name in "$@"; do
    mkdir "$name"
    cp text.txt "$name"
    (cd "$name" && "$name") >"$name.printed" 2>&1 &
    jobs+=($!)
  done
  for at in "${!jobs[@]}"; do
    name=${*:at+1:1}
    wait "${jobs[at]}" || { cat "$name.printed"; echo "FAILED: $name" >&2; status=1; }
  done
  return "$status"
}

# The command must end with this exit code, and say this text.
must_say() {
  local code=$1 text=$2 said status=0
  shift 2
  said=$("$@" 2>&1) || status=$?
  [ "$status" = "$code" ] || fail "exit code $status instead of $code of: $*
$said"
  grep -qF -- "$text" <<<"$said" || fail "it did not say '$text': $*
$said"
}

# Runs with the same bits.
same_weights() {
  for file in model.safetensors optimizer.safetensors; do
    cmp "$1/latest/$file" "$2/latest/$file" || fail "$1 and $2 differ in $file: $3"
  done
}
# Every loss of two runs within 1e-6, and every gradient norm within that or the fourth argument.
same_losses() {
  paste <(numbers "$1") <(numbers "$2") | awk -v what="$1 and $2: $3" -v norm="${4:-1e-6}" '
    function off(a, b, allowed) { return a - b > allowed * (1 + b) || b - a > allowed * (1 + b) }
    { lines++; if (off($1, $4, 1e-6) || off($2, $5, norm) || $3 != $6) { print "FAILED: " what ": " $0; exit 1 } }
    END { if (lines < 40) { print "FAILED: " what ": only " lines + 0 " steps"; exit 1 } }' || exit 1
}
numbers() {
  sed -E 's/.*"step":([0-9]+).*"loss":([^,]+),"val_loss":.*"grad_norm":([^,]+),.*/\2 \3 \1/; s/.*"step": ([0-9]+), "loss": ([^,]+), "val_loss".*"grad_norm": ([^,]+), .*/\2 \3 \1/' "$1/metrics.jsonl"
}
validation() { grep -o '"val_loss": *[0-9.]*' "$1/metrics.jsonl"; }

# Starts 2 ranks of `$program "${endless[@]}"` in the background, with the options of mpirun in `launch`; sets `job`, and
# `rank_1` to the process of rank 1, once it has saved a checkpoint. By TCP `job` is rank 0.
begin() {
  local out=$1
  shift
  if [ "$launcher" = mpirun ]; then
    mpirun --quiet --bind-to none "${launch[@]}" -n 2 "$program" "${endless[@]}" --out "$out" "$@" >"$out.said" 2>&1 &
    job=$!
  else
    local settings
    set_rank 1 2
    "${settings[@]}" "$program" "${endless[@]}" --out "$out" "$@" >"$out.said_by_1" 2>&1 &
    rank_1=$!
    set_rank 0 2
    "${settings[@]}" "$program" "${endless[@]}" --out "$out" "$@" >"$out.said" 2>&1 &
    job=$!
  fi
  for _ in $(seq 400); do
    [ ! -e "$out/latest" ] || break
    sleep 0.1
  done
  [ -e "$out/latest" ] || fail "$out: no checkpoint in 40 s: $(cat "$out.said")"
  [ "$launcher" = mpirun ] || return 0
  rank_1=$(pgrep -P "$job" | while read -r pid; do
    ! tr '\0' '\n' <"/proc/$pid/environ" | grep -qx OMPI_COMM_WORLD_RANK=1 || echo "$pid"
  done)
  [ -n "$rank_1" ] || fail "$out: rank 1 is not there"
}
# The job of NAME must have ended with this exit code.
ended() {
  local status=0
  wait "$job" 2>/dev/null || status=$? # without the shell's word on who was killed
  [ "$status" = "$2" ] || fail "$1: exit code $status instead of $2: $(cat "$1.said")"
}
says() { grep -qF -- "$2" "$1.said" || fail "$1 did not say '$2': $(cat "$1.said")"; }
# The last checkpoint of NAME is resumed, by one process, for one more step.
resumes() {
  local name=$1 step
  shift
  step=$(readlink "$name/latest")
  step=${step#step-}
  "$program" train --resume "$name" --stop-after $((step + 1)) "$@" >/dev/null 2>said.txt ||
    fail "$name cannot be resumed: $(cat said.txt)"
  [ "$(readlink "$name/latest")" = "step-$((step + 1))" ] || fail "$name was resumed without a step: $(cat said.txt)"
}
