// Everything that the explorer shows of one model on one text: where softmax heads look, what each layer would predict,
// the loss of each token, lags of shift mixing, decay times of Mamba heads, the depth of a shortcut.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "nn/analysis/hsm_paths.h"
#include "nn/analysis/mamba_decay.h"
#include "nn/analysis/shift_head_list.h"

namespace mixgrad {

struct Guess {
  std::int32_t token = 0;
  double probability = 0;
};

struct SoftmaxHead {
  std::int64_t layer = 0, head = 0;  // both counted from 0
  std::int64_t window = 0;           // tokens that it sees; 0: all
  double recency = 0;                // mean attention on a token itself and the `recency_window` before it
  std::vector<double> weights;       // [T,T], row by row: of query i on key j
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
  HsmPaths paths;  // of lags up to T - 1; no layers: no shift mixing
  std::vector<MambaDecay> mamba;
  std::vector<std::int64_t> sources;       // of the shortcut: hidden states, 0 = embedding
  std::vector<std::vector<double>> depth;  // [T][sources]: mean over heads of the attention on each
  std::vector<double> effective_depth;     // [T], in layers
};

// `tokens`: 2 to the model's context. `recency_window` >= 0. ValueError otherwise; NotFinite when the model's logits
// are not finite.
Exploration explore(const Decoder& model, const std::vector<std::int32_t>& tokens, std::int64_t recency_window);

}  // namespace mixgrad
