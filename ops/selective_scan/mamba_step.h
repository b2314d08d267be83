// One token through Mamba heads, from their input projection to their output projection, in one kernel on a CUDA
// device: a block of threads for each head of each sequence. It computes what separate operators compute, and rounds
// where those round:
//   [x; z] = projected;  xc = causal_conv_cached(x);  [delta; B; C] = head_linear(xc, x_proj)
//   dt = head_linear(delta, dt_proj, dt_bias);  y = selective_scan_cached(xc, dt, a_log, B, C, d)
//   out = head_linear(swiglu(z, y), out_proj)
// Both states move on by the token. Not differentiable: a tape that tracks an argument gets the separate operators.
#pragma once

#include <optional>

#include "core/tensor.h"

namespace mixgrad {

struct MambaStep {
  Tensor projected;            // [B,1,R,2C], or [B,1,R 2C], which may be a row view
  Tensor conv, conv_bias;      // [R,C,W], [R,C], in the accumulation type
  Tensor x_proj;               // [R,rank+2N,C]
  Tensor dt_proj, dt_bias;     // [R,C,rank], [R,C]
  Tensor a_log, d;             // [R,C,N], [R,C]
  Tensor out_proj;             // [R,O,C]
  Tensor history, scan_state;  // [B,W-1,R,C] oldest first, [B,R,N,C] in the accumulation type
  // If defined: the result, [B,1,R,O], and the kernel may run beside the one that was queued before it. That one must
  // neither have written `projected` nor read or write `out_beside`, whose memory was taken before it was queued.
  Tensor out_beside = {};
};

// [B,1,R,O]; nullopt, and nothing is done, where there is no such kernel: on a CPU, in f64, for heads whose matrices do
// not fit into the memory of a multiprocessor, under a tape, when devices are compared (Context::check_devices).
// ShapeError when the sizes do not match, and for an `out_beside` that is not contiguous; DTypeError and DeviceError
// for one of another type or device.
std::optional<Tensor> mamba_step(const MambaStep& step);

}  // namespace mixgrad
