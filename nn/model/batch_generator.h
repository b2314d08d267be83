// Several texts continued side by side, token by token, each with its own prompt and seed.
//
//   BatchGenerator generator(model, tokenizer.vocab_size(), options, {1, 2});   // two rows, their seeds
//   generator.prompt({tokenizer.encode("ROMEO:"), tokenizer.encode("JULIET: O")});
//   for (const BatchGenerator::Drawn& drawn : generator.next()) ...              // one of each row
//
// All rows are at the same position. The prompts are read together as far as the shortest goes; after that a row whose
// prompt is longer reads it token by token while the others are continued. A row gets the tokens that it would get
// alone, where no rounding decides between two of them.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "core/rng.h"
#include "nn/model/decoding_session.h"
#include "nn/model/sampling.h"

namespace mixgrad {

class BatchGenerator {
 public:
  // Whether next() says how likely its tokens were. On a CUDA device it draws on the host then, as it does with a
  // repetition penalty: the logits come back for each token.
  enum class LogProbabilities : std::uint8_t { no, yes };

  // A row for each seed. `vocabulary`: ids at and above it are never drawn (a model's table may be padded beyond its
  // tokenizer).
  BatchGenerator(const Decoder& model, std::int64_t vocabulary, const SamplingOptions& options,
                 const std::vector<std::uint64_t>& seeds, LogProbabilities log_probabilities = LogProbabilities::no);

  // Reads the prompts, one for each row, each of at least one token. Once. NotFinite, here and in next(), when the
  // model's logits are not finite.
  void prompt(const std::vector<std::vector<std::int32_t>>& prompts);

  static constexpr std::int32_t kReading = -1;
  struct Drawn {
    std::int32_t id = kReading;  // kReading: the row is still reading its prompt
    double log_probability = 0;  // of the model itself, before any filter; 0 when it was not asked for
  };
  // Draws a token for each row and consumes it. On a CUDA device the next step is queued when the tokens come back, and
  // runs while the caller works with them. The memory is written again by the next call.
  std::span<const Drawn> next();

  // With learned positions a sequence cannot grow beyond the context: the state was then rebuilt from the last
  // kept_tokens(context) tokens. Has that happened?
  bool restarted() const { return restarted_; }
  static std::int64_t kept_tokens(std::int64_t context) { return context < 2 ? 1 : context / 2; }
  std::size_t state_bytes() const { return session_.state().bytes(); }

 private:
  using Rows = std::vector<std::vector<std::int32_t>>;

  std::size_t rows() const { return rngs_.size(); }
  bool reading(std::size_t row) const { return read_ < prompts_[row].size(); }
  bool draws_on_device();
  void consume(const Rows& all, std::size_t begin, std::size_t count);
  void take_logits(const Tensor& last);
  void next_on_host();
  void next_on_device(TokenDraw& draw);
  void draw_on_host(std::size_t row);
  void remember();
  bool context_is_full() const;
  void restart();

  const Decoder& model_;
  std::int64_t vocabulary_;
  SamplingOptions options_;
  LogProbabilities log_probabilities_;
  std::vector<Rng> rngs_;  // of each row
  DecodingSession session_;
  Rows prompts_;                             // as they are read: with learned positions the last context tokens
  std::size_t read_ = 0;                     // tokens of them that were consumed, and tokens drawn since
  std::size_t longest_ = 0;                  // of the prompts
  std::vector<Drawn> drawn_;                 // of each row
  Rows tokens_;                              // of each row the one that is consumed next
  Rows recent_;                              // with learned positions: the last context tokens of each row
  std::vector<std::vector<bool>> occurred_;  // with a repetition penalty: the ids of each row so far
  std::vector<std::vector<double>> logits_;  // of each row for the next token, on the host
  Tensor logits_on_device_;                  // the same [B,1,V]; undefined on a CPU
  bool restarted_ = false;
};

}  // namespace mixgrad
