# shellcheck shell=bash
# Sourced by the tests that start several processes: on_ranks N PROGRAM ARGUMENTS, fail TEXT, must_say CODE TEXT COMMAND,
# and comparisons of two runs.
if ! command -v mpirun >/dev/null; then
  echo "SKIPPED: these tests start several processes, and there is no mpirun (Debian: openmpi-bin)"
  exit 77
fi
# Several ranks on few cores, as any user, over shared memory or the loopback.
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_rmaps_base_oversubscribe=1
export OMPI_MCA_btl_vader_single_copy_mechanism=none OMPI_MCA_btl_base_warn_component_unused=0
export OMP_WAIT_POLICY=passive

on_ranks() {
  local ranks=$1
  shift
  mpirun --quiet --bind-to none -n "$ranks" "$@"
}

fail() {
  echo "FAILED: $*" >&2
  exit 1
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
