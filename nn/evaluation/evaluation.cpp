#include "nn/evaluation/evaluation.h"

#include <cmath>
#include <numbers>

#include "core/error.h"
#include "core/text/plural.h"
#include "nn/data/document_rows.h"
#include "nn/data/target_shares.h"
#include "nn/distributed/agreement.h"

namespace mixgrad {

namespace {

// Student's t at 97.5 %. From 30 degrees on by the expansion of Abramowitz and Stegun 26.7.5, exact to 1e-5 there.
double student_t(std::int64_t degrees) {
  constexpr double kTable[] = {12.7062, 4.3027, 3.1824, 2.7764, 2.5706, 2.4469, 2.3646, 2.3060, 2.2622, 2.2281,
                               2.2010,  2.1788, 2.1604, 2.1448, 2.1314, 2.1199, 2.1098, 2.1009, 2.0930, 2.0860,
                               2.0796,  2.0739, 2.0687, 2.0639, 2.0595, 2.0555, 2.0518, 2.0484, 2.0452};
  if (degrees < 30) return kTable[degrees - 1];
  constexpr double kZ = 1.959963984540054;
  const auto n = static_cast<double>(degrees);
  const double cube = kZ * kZ * kZ;
  return kZ + (cube + kZ) / (4 * n) + (5 * cube * kZ * kZ + 16 * cube + 3 * kZ) / (96 * n * n);
}

}  // namespace

std::optional<MeanInterval> mean_interval(const std::vector<PartialSum>& parts) {
  if (parts.size() < 2) return std::nullopt;
  PartialSum all;
  for (const PartialSum& part : parts) {
    all.sum += part.sum;
    all.count += part.count;
  }
  const auto count = static_cast<double>(all.count);
  const double mean = all.sum / count;
  double squares = 0;
  for (const PartialSum& part : parts) {
    const double residual = part.sum - mean * static_cast<double>(part.count);
    squares += residual * residual;
  }
  const auto k = static_cast<double>(parts.size());
  const double deviation = std::sqrt(k / (k - 1) * squares) / count;
  const double half = student_t(static_cast<std::int64_t>(parts.size()) - 1) * deviation;
  return MeanInterval{mean - half, mean + half};
}

Evaluation evaluation_of(const std::vector<PartialSum>& parts, std::int64_t target_bytes) {
  Evaluation result;
  double sum = 0;
  for (const PartialSum& part : parts) {
    sum += part.sum;
    result.targets += part.count;
  }
  result.loss = sum / static_cast<double>(result.targets);
  result.perplexity = std::exp(result.loss);
  result.bits_per_byte = sum / std::numbers::ln2 / static_cast<double>(target_bytes);
  result.interval = mean_interval(parts);
  return result;
}

void require_vocabulary(const Decoder& model, const TokenData& data) {
  if (data.tokenizer().vocab_size() <= model.config().vocab_size) return;
  raise<ValueError>("evaluate: a model with at least ", count_text(data.tokenizer().vocab_size(), "token"),
                    " is required for this text; this one has ", model.config().vocab_size,
                    "; take the tokenizer of the model");
}

namespace {

// Of `count` targets; the documents apart where they must be.
double summed_loss(const Decoder& model, const TokenData& data, const Tensor& tokens, const Tensor& targets,
                   std::int64_t count) {
  const auto start = data.document_start();
  if (!start) return model.loss(tokens, targets).item() * static_cast<double>(count);
  double sum = 0;
  for (const DocumentRows& rows : cut_at_documents(tokens, targets, *start)) {
    sum += model.loss(rows.tokens, rows.targets).item() * static_cast<double>(count_targets(rows.targets));
  }
  return sum;
}

// In the order of the batches, of which rank r has r, r + ranks, ...
std::vector<PartialSum> parts_of_all(const std::vector<PartialSum>& own, std::int64_t batches, Communicator& ranks) {
  std::vector<double> numbers;
  for (const PartialSum& part : own) {
    numbers.push_back(part.sum);
    numbers.push_back(static_cast<double>(part.count));
  }
  const std::vector<double> all = ranks.gather(numbers);
  std::vector<PartialSum> parts;
  for (std::int64_t batch = 0; batch < batches; ++batch) {
    const auto rank = static_cast<std::size_t>(batch % ranks.size());
    const std::size_t at = rank * numbers.size() + 2 * static_cast<std::size_t>(batch / ranks.size());
    parts.push_back({all[at], static_cast<std::int64_t>(all[at + 1])});
  }
  return parts;
}

}  // namespace

Evaluation evaluate(const Decoder& model, const TokenData& data, TokenRange range, const EvaluationOptions& options) {
  require_vocabulary(model, data);
  const std::int64_t context = options.context == 0 ? model.config().context : options.context;
  const EvalWindows windows(data, range, context, options.stride);
  const Tensor tokens = Tensor::empty({options.batch, context}, DType::i32);
  const Tensor targets = Tensor::empty({options.batch, context}, DType::i32);
  const std::int64_t ranks = options.ranks == nullptr ? 1 : options.ranks->size();
  const std::int64_t rank = options.ranks == nullptr ? 0 : options.ranks->rank();
  const std::int64_t batches = (windows.count() + options.batch - 1) / options.batch;
  std::vector<PartialSum> parts;  // of the batches rank, rank + ranks, ...
  for (std::int64_t round = 0; round < batches; round += ranks) {
    check_interrupt_of(options.ranks);
    if (round + rank >= batches) {
      parts.emplace_back();
      continue;
    }
    const std::int64_t count = windows.fill((round + rank) * options.batch, tokens, targets);
    parts.push_back({summed_loss(model, data, tokens, targets, count), count});
  }
  if (options.ranks != nullptr) parts = parts_of_all(parts, batches, *options.ranks);
  return evaluation_of(parts, windows.target_bytes());
}

}  // namespace mixgrad
