// causal_conv: a filter of W taps along time for each channel on its own, then silu; nothing is seen of the future.
//   p[t,c] = bias[c] + sum_{w<W} weight[c,w] x[t-(W-1)+w,c],  x = 0 before the start;   y = silu(p) = p sigmoid(p)
//   x: [B,T,R,C] float, a row view is read in place   weight: [R,C,W]   bias: [R,C]   y: like x
//   weight and bias are f32 beside a bf16 x
//   gradient, with dp = dy silu'(p): dx[t] = sum_w weight[w] dp[t+(W-1)-w],
//             dweight[w] = sum dp[t] x[t-(W-1)+w],  dbias = sum dp  over batch and time
//   saves x, weight, bias; p is computed again
//   cost: 2 W operations and a silu per element forward, 6 W backward; sums run over fixed blocks of tokens in order.
//         silu is part of it: on its own it would read and write the tensor once more each way and save p.
//   errors: ShapeError when the sizes do not match or W < 1, DTypeError when the dtypes differ
//   source: the short convolution of Gu and Dao, Mamba (arXiv 2312.00752)
#pragma once

#include "core/tensor.h"

namespace mixgrad {

Tensor causal_conv(const Tensor& x, const Tensor& weight, const Tensor& bias);

// A sequence that is given in pieces: `history` [B,W-1,R,C] holds the last W-1 inputs, oldest first (zeros at the start
// of a sequence), and holds those of the end afterwards. Not recorded; GradError when x is tracked.
Tensor causal_conv_cached(const Tensor& x, const Tensor& weight, const Tensor& bias, const Tensor& history);

}  // namespace mixgrad
