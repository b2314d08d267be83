# shellcheck shell=bash
# Sourced by the tests that start several processes: on_ranks N PROGRAM ARGUMENTS, fail TEXT, must_say CODE TEXT COMMAND.
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
