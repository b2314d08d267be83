#include "nn/distributed/device_sums.h"

#include "core/build.h"
#include "core/error.h"
#include "nn/distributed/communicator.h"
#include "nn/distributed/nccl_sums.h"

namespace mixgrad {

std::string nccl_version() {
  if constexpr (build::has_cuda) return cuda::nccl_built_with();
  return {};
}

std::unique_ptr<DeviceSums> join_devices(Communicator& ranks, Device device) {
  if constexpr (build::has_cuda) {
    if (!nccl_version().empty()) return cuda::join_nccl(ranks, device);
  }
  raise<DeviceError>("sum over ranks: ", ranks.size(), " processes on ", device.str(),
                     " need NCCL, and this build has none; build it where nccl.h is found (docs/building.md), give ",
                     "--device cpu, or start one process");
}

}  // namespace mixgrad
