// DeviceSums by NCCL. As core/cuda/cuda.h, it is defined in builds with build::has_cuda only.
#pragma once

#include <memory>
#include <string>

#include "nn/distributed/communicator.h"
#include "nn/distributed/device_sums.h"

namespace mixgrad::cuda {

std::string nccl_built_with();  // "2.28.3"; empty: nccl.h was not there
// Not to be called where nccl_built_with() is empty.
std::unique_ptr<DeviceSums> join_nccl(Communicator& ranks, Device device);

}  // namespace mixgrad::cuda
