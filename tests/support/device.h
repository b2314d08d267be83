// The device under test: MIXGRAD_DEVICE in the environment (cpu when it is not set). A device that is asked for and
// absent fails the whole run (main.cpp).
#pragma once

#include <cstdlib>
#include <span>
#include <vector>

#include "core/tensor.h"

namespace mixgrad::test {

inline Device test_device() {
  static const Device device = [] {
    const char* name = std::getenv("MIXGRAD_DEVICE");
    return name == nullptr ? kCpu : parse_device(name);
  }();
  return device;
}

inline std::vector<Tensor> to(std::span<const Tensor> tensors, Device device) {
  std::vector<Tensor> there;
  for (const Tensor& tensor : tensors) there.push_back(tensor.defined() ? tensor.to(device) : tensor);
  return there;
}
inline std::vector<Tensor> on_device(std::span<const Tensor> tensors) { return to(tensors, test_device()); }
inline std::vector<Tensor> on_host(std::span<const Tensor> tensors) { return to(tensors, kCpu); }

}  // namespace mixgrad::test
