// selective_scan: the recurrence of a Mamba block, R heads of C channels with N states each, linear in time.
//   step[t,c]  = softplus(dt[t,c])                                  = log(1 + e^dt), linear above 20
//   A[c,n]     = -exp(a_log[c,n])
//   s_t[c,n]   = exp(step_t[c] A[c,n]) s_{t-1}[c,n] + step_t[c] x_t[c] B_t[n],       s_{-1} = 0
//   y_t[c]     = sum_n C_t[n] s_t[c,n] + D[c] x_t[c]                 for each sequence and head on its own
//   x, dt: [B,T,R,C] float   a_log: [R,C,N]   b, c: [B,T,R,N], shared by the channels of a head   d: [R,C]   y: like x
//   x, dt, b, c may be row views (a packed [x;z] or [dt;B;C]). The states are f32 (f64 for f64) whatever x is.
//   gradient, with g = dy, a_t = exp(step_t A) and L_t = g_t C_t + a_{t+1} L_{t+1}:
//     dx = D g + step sum_n L B,   dstep = sum_n L (B x + A a s_{t-1}),   ddt = dstep softplus'(dt)
//     da_log = A sum_{b,t} L step a s_{t-1},   dB = sum_c L step x,   dC = sum_c g s,   dD = sum_{b,t} g x
//   saves the inputs and the states before every 16th token, [B,ceil(T/16),R,N,C]: one more x when N = 16. The states
//   between are computed again.
//   cost: per channel, state and token one exponential and 5 operations forward; backward the same again and 13 more.
//   errors: ShapeError when the sizes do not match, DTypeError when the dtypes differ
//   source: Gu and Dao, Mamba (arXiv 2312.00752), the S6 recurrence; discretised as in their code (exp for A, step B)
#pragma once

#include <cstdint>

#include "core/tensor.h"

namespace mixgrad {

// The implementations. Both pass the same tests; their results differ by rounding.
//   sequential  plain loops over time, channel and state; keeps every state for the backward: the reference
//   chunked     16 tokens at a time, channels innermost and vectorised; the default
// On CUDA `sequential` is the naive implementation there, `chunked` the highest that takes the shape
// (selective_scan.cu).
enum class ScanImplementation : std::uint8_t { chunked, sequential };

inline constexpr std::int64_t kScanChunk = 16;  // tokens between two saved states

Tensor selective_scan(const Tensor& x, const Tensor& dt, const Tensor& a_log, const Tensor& b, const Tensor& c,
                      const Tensor& d, ScanImplementation implementation = ScanImplementation::chunked);

// A sequence that is given in pieces: starts from `state` [B,R,N,C] (f32, f64 for f64; zeros at the start of a
// sequence) and leaves the state after the last token in it. Not recorded; GradError when x is tracked.
Tensor selective_scan_cached(const Tensor& x, const Tensor& dt, const Tensor& a_log, const Tensor& b, const Tensor& c,
                             const Tensor& d, const Tensor& state,
                             ScanImplementation implementation = ScanImplementation::chunked);

}  // namespace mixgrad
