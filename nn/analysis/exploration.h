// Everything that the explorer shows of one model on one text: where softmax heads look, what each layer would predict,
// the loss of each token, lags and paths of shift mixing, what Mamba heads take from earlier tokens, the depth of a
// shortcut.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "nn/analysis/hsm_paths.h"
#include "nn/analysis/mamba_attention.h"
#include "nn/analysis/mamba_decay.h"
#include "nn/analysis/shift_head_list.h"
#include "nn/analysis/shift_paths.h"

namespace mixgrad {

struct Guess {
  std::int32_t token = 0;
  double probability = 0;
};

// Where a row of weights looks, as means over the rows of a text, beside the same of uniform weights.
struct HeadView {
  double recency = 0, uniform_recency = 0;               // on a token itself and the `recency_window` before it
  double distance = 0, uniform_distance = 0;             // tokens between query and key
  std::vector<double> by_distance, uniform_by_distance;  // at distance 0, 1, 2-3, 4-7, ... (attention_ranges)
};

struct SoftmaxHead {
  std::int64_t layer = 0, head = 0;  // both counted from 0
  std::int64_t window = 0;           // tokens that it sees; 0: all
  HeadView view;
  std::vector<double> weights;  // [T,T], row by row: of query i on key j
};

struct MambaHead {
  std::int64_t layer = 0, head = 0;
  HeadView view;  // of attention.weights
  MambaAttention attention;
  std::vector<double> left_by_lag;  // [T]: mean over the text of attention.left, d tokens later
  std::int64_t half_life = 0;       // the first d at which that is below 1/2; 0: not on this text
};

struct Exploration {
  std::vector<std::int32_t> tokens;         // T of them
  std::int64_t recency_window = 0;          // k of the recency ratios
  std::vector<double> losses;               // [T - 1]: nats of token i + 1 given those before it
  std::vector<std::vector<Guess>> guesses;  // [T]: the likeliest next tokens, likeliest first
  // [L + 1][T]: what the final norm and the head make of the residual stream before each layer, and after the last: the
  // likeliest next token, and the probability of the one that follows (NaN for the last position).
  std::vector<std::vector<Guess>> lens;
  std::vector<std::vector<double>> lens_of_next;
  std::vector<SoftmaxHead> softmax;
  std::vector<ShiftHead> shift;
  HsmPaths paths;                          // of lags up to T - 1; no layers: no shift mixing
  std::vector<HeadPaths> shift_paths;      // likewise
  std::vector<MambaDecay> mamba;           // at rest
  std::vector<MambaHead> mamba_heads;      // on this text, in the same order
  std::vector<std::int64_t> sources;       // of the shortcut: hidden states, 0 = embedding
  std::vector<std::vector<double>> depth;  // [T][sources]: mean over heads of the attention on each
  std::vector<double> effective_depth;     // [T], in layers
};

// `tokens`: 2 to the model's context. `recency_window` >= 0. ValueError otherwise; NotFinite when the model's logits
// are not finite.
Exploration explore(const Decoder& model, const std::vector<std::int32_t>& tokens, std::int64_t recency_window);

}  // namespace mixgrad
