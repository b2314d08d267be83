#include "core/device.h"

#include <cstdint>
#include <optional>

#include "core/build.h"
#include "core/cuda/cuda.h"
#include "core/error.h"
#include "core/text/parse_number.h"

namespace mixgrad {

Device parse_device(std::string_view text) {
  if (text == "cpu") return kCpu;
  if (text == "cuda") return {Device::Kind::cuda, 0};
  constexpr std::string_view kPrefix = "cuda:";
  std::optional<std::int64_t> index;
  if (text.starts_with(kPrefix)) index = parse_integer(text.substr(kPrefix.size()));
  if (!index || *index < 0 || *index > kMaxDeviceIndex) {
    raise<ValueError>("device: must be cpu, cuda or cuda:N with N from 0 to ", kMaxDeviceIndex, ", got ", '"', text,
                      '"');
  }
  return {Device::Kind::cuda, static_cast<std::int8_t>(*index)};
}

void require_device(Device device) {
  if (device.is_cpu()) return;
  if constexpr (build::has_cuda) {
    cuda::require_device(device);
  } else {
    raise<DeviceError>("device: this build has the device cpu only, got ", device.str(),
                       "; build with cmake --preset cuda");
  }
}

}  // namespace mixgrad
