// Evaluation: the mean loss over every token of a range, each a target exactly once.
#pragma once

#include "nn/data/token_data.h"
#include "nn/model/decoder.h"

namespace mixgrad {

struct Evaluation {
  double loss = 0;           // nats a target
  double perplexity = 0;     // e^loss
  double bits_per_byte = 0;  // of the text that the targets encode
  std::int64_t targets = 0;
};

// Sequences at a time: one value everywhere, so that losses have equal bits.
inline constexpr std::int64_t kEvalBatch = 16;

// Non-overlapping windows of the model's context, `batch` at a time; the result does not depend on `batch` beyond
// rounding. ValueError when the data uses ids that the model does not have; Interrupted (core/system/interrupt.h).
Evaluation evaluate(const Decoder& model, const TokenData& data, TokenRange range, std::int64_t batch = kEvalBatch);

}  // namespace mixgrad
