// Text generation: one token at a time through the mixers' states, never by running the prefix again.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "core/rng.h"
#include "nn/model/decoding_session.h"
#include "nn/model/sampling.h"

namespace mixgrad {

class Generator {
 public:
  // `vocabulary`: ids at and above it are never drawn (a model's table may be padded beyond its tokenizer).
  Generator(const Decoder& model, std::int64_t vocabulary, const SamplingOptions& options, std::uint64_t seed);

  // Consumes the prompt (at least one token). NotFinite, here and in next(), when the model's logits are not finite.
  void prompt(std::span<const std::int32_t> tokens);
  // Draws the next token and consumes it. On a CUDA device that step is queued when the token comes back, and runs
  // while the caller works with the token.
  std::int32_t next();

  // With learned positions a sequence cannot grow beyond the context: the state was then rebuilt from the last
  // kept_tokens(context) tokens. Has that happened?
  bool restarted() const { return restarted_; }
  static std::int64_t kept_tokens(std::int64_t context) { return context < 2 ? 1 : context / 2; }
  std::size_t state_bytes() const { return session_.state().bytes(); }

 private:
  void consume(std::span<const std::int32_t> tokens);
  std::int32_t next_on_device(TokenDraw& draw);
  void restart();

  const Decoder& model_;
  std::int64_t vocabulary_;
  SamplingOptions options_;
  Rng rng_;
  DecodingSession session_;
  std::vector<std::int32_t> recent_;  // with learned positions: the last context tokens
  std::vector<double> logits_;        // for the next token, on the host
  Tensor logits_on_device_;           // the same [1,1,V]; undefined on a CPU
  bool restarted_ = false;
};

}  // namespace mixgrad
