// On which device and in which types a verb computes: --device, --precision, --matmul-precision.
#pragma once

#include <string>
#include <vector>

#include "apps/options/option_set.h"
#include "core/tensor.h"

namespace mixgrad::app {

DType parse_precision(const std::string& name);  // "f64", "f32" or "bf16"; ValueError

// The word for the device in which each operator is compared with the CPU (core/dispatch/device_check.h).
inline constexpr const char* kCheckedDevice = "check";
Device checked_device();  // cuda:0; DeviceError when it is not there

void declare_threads(OptionSet& options, std::int64_t& threads);

struct PlacementOptions {
  std::string device = "cpu", precision = "f32", matmul_precision = "highest";

  // With the words that --precision takes, of which `precision` is the first choice.
  void declare(OptionSet& options, const std::vector<std::string>& precisions, const std::string& help);
  // DeviceError unless the device is there; ValueError for cuda:N in a job of several processes.
  void check_device() const;
  // The settings under which the verb computes; threads = 0: OMP_NUM_THREADS or all cores.
  Context context(std::int64_t threads) const;
  Device where() const;  // of cuda and check in a job of several processes: the device of this process
  bool checks() const { return device == kCheckedDevice; }
  bool operator==(const PlacementOptions&) const = default;
  // With the context of the scope that the verb has opened.
  Placement model_placement() const { return {parse_precision(precision), where()}; }
};

}  // namespace mixgrad::app
