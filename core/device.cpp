#include "core/device.h"

#include <charconv>

#include "core/build.h"
#include "core/cuda/cuda.h"
#include "core/error.h"

namespace mixgrad {

Device parse_device(std::string_view text) {
  if (text == "cpu") return kCpu;
  if (text == "cuda") return {Device::Kind::cuda, 0};
  constexpr std::string_view kPrefix = "cuda:";
  int index = -1;
  if (text.starts_with(kPrefix)) {
    const char* end = text.data() + text.size();
    const auto [stop, error] = std::from_chars(text.data() + kPrefix.size(), end, index);
    if (error != std::errc() || stop != end || index > kMaxDeviceIndex) index = -1;
  }
  if (index < 0)
    raise<ValueError>("device: must be cpu, cuda or cuda:N with N from 0 to ", kMaxDeviceIndex, ", got ", '"', text,
                      '"');
  return {Device::Kind::cuda, static_cast<std::int8_t>(index)};
}

void require_device(Device device) {
  if (device.is_cpu()) return;
  if constexpr (build::has_cuda) {
    cuda::require_device(device);
  } else {
    raise<DeviceError>("device: this build has the device cpu only, got ", device.str(), "; build with --preset cuda");
  }
}

}  // namespace mixgrad
