// mixgrad bench comm: how quickly the processes of a job add up gradients.
#pragma once

#include <cstdint>

#include "apps/options/placement_options.h"
#include "nn/distributed/communicator.h"

namespace mixgrad::app {

// By rank 0 a row for each size from 4 KiB to 64 MiB: the median time of a sum over the ranks in any order, in rank
// order and in bf16, and how many bytes a second each rank then sends, 2 (N - 1) / N of the buffer a sum. ValueError
// for one process, and for a placement that has no effect. On CUDA devices up to 1 GiB, of f32 sent as f32 and as bf16.
void bench_comm(Communicator& ranks, const PlacementOptions& placement, std::int64_t rounds, bool json);

}  // namespace mixgrad::app
