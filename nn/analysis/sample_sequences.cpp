#include "nn/analysis/sample_sequences.h"

#include <algorithm>

#include "core/error.h"
#include "nn/distributed/agreement.h"

namespace mixgrad {
namespace {

constexpr std::int64_t kTokensAtOnce = 4096;

}  // namespace

SampledSequences sample_sequences(const TokenData& data, TokenRange range, std::int64_t length, std::int64_t most) {
  if (range.size() < 2) {
    raise<ValueError>("sequences of ", data.source(), ": at least two tokens are required; got ", range.size(),
                      "; choose a longer text or another split");
  }
  SampledSequences sample;
  sample.length = std::min(length, range.size() - 1);
  const std::int64_t there = (range.size() - 1) / sample.length;
  sample.count = std::min(most, there);
  const std::int64_t at_once = std::max<std::int64_t>(1, kTokensAtOnce / sample.length);
  for (std::int64_t first = 0; first < sample.count; first += at_once) {
    const std::int64_t rows = std::min(at_once, sample.count - first);
    SampledSequences::Batch batch{Tensor::empty({rows, sample.length}, DType::i32),
                                  Tensor::empty({rows, sample.length}, DType::i32)};
    for (std::int64_t r = 0; r < rows; ++r) {
      const std::int64_t begin = range.begin + (first + r) * there / sample.count * sample.length;
      data.gather(begin, sample.length, batch.tokens.data<std::int32_t>() + r * sample.length);
      data.gather(begin + 1, sample.length, batch.targets.data<std::int32_t>() + r * sample.length);
    }
    sample.batches.push_back(std::move(batch));
  }
  return sample;
}

SampledSequences sample_sequences(const Task& task, std::uint64_t seed, std::uint64_t first, std::int64_t count) {
  SampledSequences sample;
  sample.length = task.length();
  sample.count = count;
  const std::int64_t at_once = std::max<std::int64_t>(1, kTokensAtOnce / sample.length);
  TaskSequence sequence;
  for (std::int64_t done = 0; done < count; done += at_once) {
    const std::int64_t rows = std::min(at_once, count - done);
    SampledSequences::Batch batch{Tensor::empty({rows, sample.length}, DType::i32),
                                  Tensor::empty({rows, sample.length}, DType::i32)};
    for (std::int64_t r = 0; r < rows; ++r) {
      task.sequence(seed, first + static_cast<std::uint64_t>(done + r), sequence);
      std::copy(sequence.tokens.begin(), sequence.tokens.end(), batch.tokens.data<std::int32_t>() + r * sample.length);
      std::copy(sequence.targets.begin(), sequence.targets.end(),
                batch.targets.data<std::int32_t>() + r * sample.length);
    }
    sample.batches.push_back(std::move(batch));
  }
  return sample;
}

std::vector<std::vector<double>> rows_of_batches(const SampledSequences& sample, std::size_t width, Communicator* ranks,
                                                 const MakeRow& make) {
  const std::size_t size = ranks == nullptr ? 1 : static_cast<std::size_t>(ranks->size());
  const std::size_t rank = ranks == nullptr ? 0 : static_cast<std::size_t>(ranks->rank());
  const std::size_t batches = sample.batches.size();
  const std::size_t rounds = (batches + size - 1) / size;
  std::vector<double> own(rounds * width);
  for (std::size_t round = 0; round < rounds; ++round) {
    check_interrupt_of(ranks);
    const std::size_t batch = round * size + rank;
    if (batch < batches) make(sample.batches[batch], std::span(own).subspan(round * width, width));
  }
  const std::vector<double> all = ranks == nullptr ? own : ranks->gather(own);
  std::vector<std::vector<double>> rows;
  for (std::size_t batch = 0; batch < batches; ++batch) {
    const std::span<const double> row = std::span(all).subspan((batch % size * rounds + batch / size) * width, width);
    rows.emplace_back(row.begin(), row.end());
  }
  return rows;
}

double mean_loss(const Decoder& model, const SampledSequences& sample, Communicator* ranks) {
  const auto make = [&](const SampledSequences::Batch& batch, std::span<double> row) {
    row[0] = model.loss(batch.tokens, batch.targets).item() * static_cast<double>(batch.tokens.dim(0));
  };
  double sum = 0;
  for (const std::vector<double>& row : rows_of_batches(sample, 1, ranks, make)) sum += row[0];
  return sum / static_cast<double>(sample.count);
}

}  // namespace mixgrad
