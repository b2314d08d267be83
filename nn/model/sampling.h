// How a token is drawn from logits. The order is that of Hugging Face's transformers: the repetition penalty, the
// temperature, top-k, top-p of what top-k left, min-p. sample_token() is the definition; a CUDA device draws the same
// tokens (nn/model/token_draw.h), but for the penalty, which is applied on the host.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "core/rng.h"

namespace mixgrad {

struct SamplingOptions {
  double temperature = 1.0;       // 0: always the most likely token (the lowest id among equals)
  std::int64_t top_k = 0;         // only the k most likely tokens; 0 = all
  double top_p = 1.0;             // only the most likely tokens whose probabilities sum to p; 1 = all
  double min_p = 0;               // only tokens whose probability is at least this part of the largest one; 0 = all
  double repetition_penalty = 1;  // of tokens that have occurred (penalize_repetition); 1 = none
};

// ValueError for a value outside its range.
void validate(const SamplingOptions& options);

// The penalty of Keskar et al. 2019 (CTRL), as transformers and llama.cpp have it: the logit of each token that has
// occurred, in the prompt or since, is divided by `penalty` when it is above 0, else multiplied by it. occurred[v]: of
// the ids of `logits`.
void penalize_repetition(std::span<double> logits, const std::vector<bool>& occurred, double penalty);

// Draws a token from logits[0, vocabulary): temperature, then top_k, top_p, min_p; a penalty has been applied before.
// Takes one number from rng unless temperature is 0. A token with the logit -inf is never drawn. NotFinite
// (nn/modules/finite_values.h) for NaN or +inf among the logits, or when none is finite.
std::int32_t sample_token(std::span<const double> logits, const SamplingOptions& options, Rng& rng);

// The natural logarithm of softmax(logits)[id]: what the model itself says, before any filter.
double log_probability(std::span<const double> logits, std::int32_t id);

}  // namespace mixgrad
