#include "nn/distributed/device_sums.h"

#include <algorithm>

#include "core/build.h"
#include "core/error.h"
#include "nn/distributed/communicator.h"
#include "nn/distributed/nccl_sums.h"

namespace mixgrad {

void DeviceSums::divide(const Tensor& values, std::int64_t begin, std::span<const std::int64_t> shares,
                        std::vector<Summand>& pieces) {
  if (shares.empty()) {
    pieces.push_back({values, kAll});
    return;
  }
  const std::int64_t end = begin + values.numel();
  for (std::size_t r = 0; r + 1 < shares.size(); ++r) {
    const std::int64_t first = std::max(begin, shares[r]);
    const std::int64_t last = std::min(end, shares[r + 1]);
    if (first < last) pieces.push_back({values.slice(first - begin, last - begin), static_cast<int>(r)});
  }
}

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
