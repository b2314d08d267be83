// mixgrad bench comm: how quickly the processes of a job add up gradients.
#pragma once

#include <cstdint>

#include "apps/options/placement_options.h"
#include "nn/distributed/communicator.h"

namespace mixgrad::app {

// Rank 0 prints a row for each size from 4 KiB to 64 MiB: the median time of a sum over the ranks in any order, in rank
// order and in bf16, and how many bytes a second each rank sends in the first, 2 (N - 1) / N of the buffer a sum. On
// CUDA devices the sizes go up to 1 GiB, and f32 is sent as f32 and as bf16. ValueError for one process, and for a
// placement that has no effect.
void bench_comm(Communicator& ranks, const PlacementOptions& placement, std::int64_t rounds, bool json);

}  // namespace mixgrad::app
