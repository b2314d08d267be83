// How long an operator takes for the inputs of a case.
//
//   OpCase c = ...;
//   const CaseTiming timing = time_case(c, DType::f32, kCpu);
//   std::printf("%.1f us forward, %.1f us backward\n", 1e6 * timing.forward_s, 1e6 * timing.backward_s);
#pragma once

#include "core/device.h"
#include "core/dtype.h"
#include "ops/cases/cases.h"

namespace mixgrad::test {

struct CaseTiming {
  double forward_s = 0;   // of one call, the smallest of all measured
  double backward_s = 0;  // of its gradients, likewise; 0 for a case without a float input
  int runs = 0;
};

// Repeats until `seconds` have passed, at least three times after one that is not counted.
CaseTiming time_case(const OpCase& c, DType dtype, Device device, double seconds = 0.2);

}  // namespace mixgrad::test
