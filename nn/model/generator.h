// Text generation: one token at a time through the mixers' states, never by running the prefix again.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "core/rng.h"
#include "nn/model/decoding_session.h"

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

class Generator {
 public:
  // `vocabulary`: ids at and above it are never drawn (a model's table may be padded beyond its tokenizer).
  Generator(const Decoder& model, std::int64_t vocabulary, const SamplingOptions& options, std::uint64_t seed);

  // Consumes the prompt (at least one token). NotFinite, here and in next(), when the model's logits are not finite.
  void prompt(std::span<const std::int32_t> tokens);
  // Draws the next token and consumes it.
  std::int32_t next();

  // With learned positions a sequence cannot grow beyond the context: the state was then rebuilt from the last
  // kept_tokens(context) tokens. Has that happened?
  bool restarted() const { return restarted_; }
  static std::int64_t kept_tokens(std::int64_t context) { return context < 2 ? 1 : context / 2; }
  std::size_t state_bytes() const { return session_.state().bytes(); }

 private:
  void consume(std::span<const std::int32_t> tokens);

  const Decoder& model_;
  std::int64_t vocabulary_;
  SamplingOptions options_;
  Rng rng_;
  DecodingSession session_;
  std::vector<std::int32_t> recent_;  // with learned positions: the last context tokens
  std::vector<double> logits_;        // for the next token
  bool restarted_ = false;
};

}  // namespace mixgrad
