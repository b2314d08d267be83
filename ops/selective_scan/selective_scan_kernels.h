#pragma once

#include "autograd/tape.h"
#include "ops/selective_scan/mamba_step.h"
#include "ops/selective_scan/selective_scan.h"
#include "ops/support/dispatch.h"

namespace mixgrad {

struct ScanInputs {
  Tensor x, dt;  // [B,T,R,C]
  Tensor a_log;  // [R,C,N]
  Tensor b, c;   // [B,T,R,N]
  Tensor d;      // [R,C]

  template <class F>
  void each_tensor(const F& visit) {
    for (Tensor* tensor : {&x, &dt, &a_log, &b, &c, &d}) visit(*tensor);
  }
};

struct ScanTargets {  // any may be unwanted; those of a_log and d have the accumulation type
  GradTarget x, dt, a_log, b, c, d;

  template <class F>
  void each_tensor(const F& visit) {
    for (GradTarget* target : {&x, &dt, &a_log, &b, &c, &d}) visit(target->tensor);
  }
};

}  // namespace mixgrad

MIXGRAD_KERNELS(
    // state [B,R,N,C]: where the scan starts and what it leaves; undefined: zeros, not kept.
    // saved [B,ceil(T/16),R,N,C]: gets the states before every 16th token; may be undefined.
    void selective_scan_forward(const ScanInputs& in, ScanImplementation implementation, const Tensor& state,
                                const Tensor& saved, const Tensor& y);
    void selective_scan_backward(const ScanInputs& in, ScanImplementation implementation, const Tensor& saved,
                                 const Tensor& dy, const ScanTargets& out);)

// In builds with CUDA. Three implementations of the same formulas, from the plainest to the quickest: each is the
// reference of the next.
namespace mixgrad::cuda {

enum class DeviceScanImplementation { naive, registers, segments };

// As the kernels above, on the highest implementation that takes these shapes and is at most `highest`; returns which
// it was.
DeviceScanImplementation selective_scan_forward(DeviceScanImplementation highest, const ScanInputs& in,
                                                const Tensor& state, const Tensor& saved, const Tensor& y);
// There is no backward on segments: registers is its highest.
DeviceScanImplementation selective_scan_backward(DeviceScanImplementation highest, const ScanInputs& in,
                                                 const Tensor& saved, const Tensor& dy, const ScanTargets& out);

// As mamba_step(), into a tensor of its own; false, and nothing is done, where there is no such kernel.
bool mamba_step(const MambaStep& step, Tensor& out);

}  // namespace mixgrad::cuda
