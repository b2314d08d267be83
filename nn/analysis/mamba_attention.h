// What a Mamba head takes from each earlier token of a text: the implied attention of its selective scan
// (ops/selective_scan), which is linear in x once the steps are known.
//   y_t[c] = sum_{j<=t} w_tj[c] x_j[c] + D[c] x_t[c]
//   w_tj[c] = step_j[c] sum_n C_t[n] B_j[n] e_tj[c,n],   e_tj[c,n] = exp(A[c,n] (step_{j+1}[c] + ... + step_t[c]))
// weights[t,j] is sum_c |w_tj[c]|, in parts of its row's sum, so that a row can be compared with one of softmax; the
// sums divided by the channels are `strength`. left[t,j] is the part of what token j has written into the state, the
// numbers step_j x_j B_j, that is still there at token t: sum |step x B| e / sum |step x B|; 1 at t = j.
// The selection behind it: steps and what a state keeps at each token, as means over groups of channels. The groups are
// of equal size, from the channels with the smallest mean step on this text (they remember longest) to the largest.
//   cost: T^2/2 multiplications for each channel and state
//   source: Ali, Zimerman and Wolf, The hidden attention of Mamba models (arXiv 2403.01590)
#pragma once

#include <cstdint>
#include <vector>

#include "nn/mixers/mamba_heads.h"

namespace mixgrad {

struct MambaAttention {
  std::vector<double> weights;   // [T,T], row by row; rows sum to 1 (to 0 where a row has no weight at all)
  std::vector<double> strength;  // [T]
  std::vector<double> left;      // [T,T]
  std::int64_t groups = 0;       // G: 4, or the channels if they are fewer
  std::vector<double> step;      // [T,G]: mean step
  std::vector<double> kept;      // [T,G]: mean exp(step A), what a state keeps as this token arrives
};

// One for each Mamba head, in their order, of the only sequence of `inputs` (B = 1); none for undefined inputs.
// ValueError for another batch.
std::vector<MambaAttention> mamba_attention(const MambaSelection& inputs);

}  // namespace mixgrad
