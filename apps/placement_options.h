// On which device and in which types a verb computes: --device, --precision, --matmul-precision.
#pragma once

#include <string>
#include <vector>

#include "apps/verb.h"
#include "core/tensor.h"

namespace mixgrad::app {

DType parse_precision(const std::string& name);  // "f64", "f32" or "bf16"; ValueError

struct PlacementOptions {
  std::string device = "cpu", precision = "f32", matmul_precision = "highest";

  // With the words that --precision takes, of which `precision` is the first choice.
  void declare(OptionSet& options, const std::vector<std::string>& precisions, const std::string& help);
  void apply() const;  // DeviceError when the device is not there; sets the process's precision of products
  Device where() const;
  Placement place() const { return {parse_precision(precision), where()}; }
};

}  // namespace mixgrad::app
