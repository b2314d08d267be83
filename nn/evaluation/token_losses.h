// The loss of every token of a range, one by one.
//
//   const Evaluation result = evaluate_tokens(model, data, data.valid(), {.stride = 32},
//                                             [](const TokenLoss& token) { ... });
#pragma once

#include <cstdint>
#include <functional>

#include "nn/data/token_data.h"
#include "nn/evaluation/evaluation.h"
#include "nn/model/decoder.h"

namespace mixgrad {

struct TokenLoss {
  std::int64_t index = 0;     // in the data
  std::int64_t position = 0;  // in its window or document, from 1: the tokens that it was predicted from
  std::int32_t token = 0;
  double loss = 0;  // nats
};

// Windows as evaluate() has them, side by side or with a stride. A context above the model's is allowed
// without learned positions: softmax layers then see all of it, at positions that they were not trained on. `sink` gets
// every target once, in the order of the data. The interval takes the windows as independent.
// ValueError as evaluate(), and for a context that the positions do not allow; Interrupted; a loss that is not finite
// is handed on.
Evaluation evaluate_tokens(const Decoder& model, const TokenData& data, TokenRange range,
                           const EvaluationOptions& options, const std::function<void(const TokenLoss&)>& sink);

// ValueError when the model cannot be given sequences of this length.
void require_context(const Decoder& model, std::int64_t context);

}  // namespace mixgrad
