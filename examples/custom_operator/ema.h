// ema: an exponential moving average along time, with a learnable gate for each channel.
//   y[t] = g y[t-1] + (1 - g) x[t],  y[-1] = 0,  g = sigmoid(gate)
//   x: [B,T,C] float, a row view is read in place   gate: [C], f32 beside a bf16 x   y: like x
//   gradient, with e[t] = dy[t] + g e[t+1]:  dx[t] = (1 - g) e[t],
//             dgate = g (1 - g) sum e[t] (y[t-1] - x[t])  over batch and time, in that order
//   saves x, gate; y is computed again, for it may be rounded to bf16
//   cost: 3 operations an element forward, 8 backward
//   errors: ShapeError when the sizes do not match, DTypeError when the dtypes differ
#pragma once

#include "mixgrad/mixgrad.h"

namespace ema {

extern const mixgrad::OpSpec spec;

mixgrad::Tensor ema(const mixgrad::Tensor& x, const mixgrad::Tensor& gate);

// A sequence that is given in pieces: `state` [B,C], in the accumulation dtype of x, holds y of the token before (zeros
// at the start), and that of the last token afterwards. Not recorded; GradError when x or gate is tracked.
mixgrad::Tensor ema_cached(const mixgrad::Tensor& x, const mixgrad::Tensor& gate, const mixgrad::Tensor& state);

}  // namespace ema
