// Text generation: one token at a time through the mixers' states, never by running the prefix again. Several texts at
// once: nn/model/batch_generator.h.
//
//   Generator generator(model, tokenizer.vocab_size(), {.temperature = 0.8}, 1);
//   generator.prompt(tokenizer.encode("ROMEO:"));
//   const std::int32_t id = generator.next();
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "nn/model/batch_generator.h"

namespace mixgrad {

class Generator {
 public:
  // `vocabulary`: ids at and above it are never drawn (a model's table may be padded beyond its tokenizer).
  Generator(const Decoder& model, std::int64_t vocabulary, const SamplingOptions& options, std::uint64_t seed)
      : batch_(model, vocabulary, options, {seed}) {}

  // Consumes the prompt (at least one token), once. NotFinite, here and in next(), when the model's logits are not
  // finite.
  void prompt(std::span<const std::int32_t> tokens) {
    batch_.prompt(std::vector<std::vector<std::int32_t>>(1, {tokens.begin(), tokens.end()}));
  }
  // Draws the next token and consumes it. On a CUDA device that step is queued when the token comes back, and runs
  // while the caller works with the token.
  std::int32_t next() { return batch_.next().front().id; }

  // With learned positions a sequence cannot grow beyond the context: the state was then rebuilt from the last
  // kept_tokens(context) tokens. Has that happened?
  bool restarted() const { return batch_.restarted(); }
  static std::int64_t kept_tokens(std::int64_t context) { return BatchGenerator::kept_tokens(context); }
  std::size_t state_bytes() const { return batch_.state_bytes(); }

 private:
  BatchGenerator batch_;
};

}  // namespace mixgrad
