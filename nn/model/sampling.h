// How a token is drawn from logits: temperature, top-k, top-p. sample_token() is the definition; a CUDA device draws
// the same tokens (nn/model/token_draw.h).
#pragma once

#include <cstdint>
#include <span>

#include "core/rng.h"

namespace mixgrad {

struct SamplingOptions {
  double temperature = 1.0;  // 0: always the most likely token (the lowest id among equals)
  std::int64_t top_k = 0;    // only the k most likely tokens; 0 = all
  double top_p = 1.0;        // only the most likely tokens whose probabilities sum to p; 1 = all
};

// ValueError for a value outside its range.
void validate(const SamplingOptions& options);

// Draws a token from logits[0, vocabulary): temperature, then top_k, then top_p. Takes one number from rng unless
// temperature is 0. A token with the logit -inf is never drawn. NotFinite (nn/modules/finite_values.h) for NaN or +inf
// among the logits, or when none is finite.
std::int32_t sample_token(std::span<const double> logits, const SamplingOptions& options, Rng& rng);

}  // namespace mixgrad
