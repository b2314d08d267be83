#!/usr/bin/env bash
# The laws of the communicator on 1, 2 and 3 ranks, and what it says of a rank that is silent or leaves.
#   communicator.sh PATH/TO/communicator_ranks
# Exit code 77, which ctest reports as skipped, where there is no mpirun.
set -euo pipefail
# shellcheck disable=SC1091
source "$(dirname "${BASH_SOURCE[0]}")/ranks.sh"
program=$1

for ranks in 1 2 3; do
  on_ranks "$ranks" "$program" laws || fail "on $ranks ranks: exit code $?"
done
# Each rank prints its own line; mpirun ends the job at the first exit code that is not 0.
must_say 4 "rank 1 of 2 did not take part in the end of the test within 2 s" on_ranks 2 "$program" silent
must_say 4 "rank 2 of 3 stopped: the disk is full" on_ranks 3 "$program" leaves
echo "communicator: as it must be"
