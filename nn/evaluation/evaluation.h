// Evaluation: the mean loss over every token of a range, each a target exactly once.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "nn/data/token_data.h"
#include "nn/distributed/communicator.h"
#include "nn/model/decoder.h"

namespace mixgrad {

// An interval of 95 % for a mean.
struct MeanInterval {
  double low = 0, high = 0;
};

// Sums over parts of a whole, such as the losses of a batch of windows, and of how many numbers each is.
struct PartialSum {
  double sum = 0;
  std::int64_t count = 0;
};
// For the mean of all numbers, taking the parts, not the numbers, as independent: neighbouring tokens are not.
//   m = sum S_i / sum n_i,  v = K / (K - 1) sum (S_i - m n_i)^2 / (sum n_i)^2,  m +- t sqrt(v)
// with Student's t of K - 1 degrees of freedom for K parts (the ratio estimator: Cochran, Sampling Techniques, 1977,
// chapter 6). Nothing for fewer than two parts.
std::optional<MeanInterval> mean_interval(const std::vector<PartialSum>& parts);

struct Evaluation {
  double loss = 0;           // nats a target
  double perplexity = 0;     // e^loss
  double bits_per_byte = 0;  // of the text that the targets encode
  std::int64_t targets = 0;
  std::optional<MeanInterval> interval = {};  // of the loss, from the losses of the batches
};

// Sequences at a time: one value everywhere, so that losses have equal bits.
inline constexpr std::int64_t kEvalBatch = 16;

struct EvaluationOptions {
  std::int64_t batch = kEvalBatch;
  std::int64_t context = 0;  // of the windows; 0 = the model's, which it must not exceed
  std::int64_t stride = 0;   // from window to window (EvalWindows); 0 = the context
  // Of a job: every rank calls evaluate(), each evaluates its share of the batches, and all get the whole, which has
  // the bits that one process gives.
  Communicator* ranks = nullptr;
};

// Windows of the model's context, `batch` at a time; the loss does not depend on `batch` beyond
// rounding. ValueError when the data uses ids that the model does not have; Interrupted (core/system/interrupt.h).
Evaluation evaluate(const Decoder& model, const TokenData& data, TokenRange range, const EvaluationOptions& options);
inline Evaluation evaluate(const Decoder& model, const TokenData& data, TokenRange range,
                           std::int64_t batch = kEvalBatch) {
  return evaluate(model, data, range, EvaluationOptions{.batch = batch});
}

// The figures that follow from partial sums and the bytes of the targets.
Evaluation evaluation_of(const std::vector<PartialSum>& parts, std::int64_t target_bytes);
// ValueError, as evaluate() throws it, when the data uses ids that the model does not have.
void require_vocabulary(const Decoder& model, const TokenData& data);

}  // namespace mixgrad
