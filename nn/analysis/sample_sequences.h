// Sequences of a text or a task on which a model is analysed: spread evenly over a range of its tokens, none
// overlapping.
//   const SampledSequences sample = sample_sequences(data, data.valid(), model.config().context, 64);
#pragma once

#include <cstddef>
#include <functional>
#include <span>
#include <vector>

#include "nn/data/tasks/task.h"
#include "nn/data/token_data.h"
#include "nn/distributed/communicator.h"
#include "nn/model/decoder.h"

namespace mixgrad {

struct SampledSequences {
  struct Batch {
    Tensor tokens, targets;  // [B,n] i32 on the host; a target is the token behind, or as the task has it
  };
  std::vector<Batch> batches;
  std::int64_t count = 0;   // sequences in all
  std::int64_t length = 0;  // n
};

// At most `most` sequences of `length` tokens, or of as many as the range has beside the last target; at most 4,096
// tokens at a time. ValueError when the range has fewer than two tokens.
SampledSequences sample_sequences(const TokenData& data, TokenRange range, std::int64_t length, std::int64_t most);

// `count` sequences of a task, those of the counters first, first + 1, ... (nn/data/tasks/task.h).
SampledSequences sample_sequences(const Task& task, std::uint64_t seed, std::uint64_t first, std::int64_t count);

// `width` numbers of each batch, in the order of the batches. In a job of several processes rank r makes those of the
// batches r, r + ranks, ..., and every rank gets all; `ranks` null: this process makes them all. Interrupted on every
// rank when there has been a request to stop on one.
using MakeRow = std::function<void(const SampledSequences::Batch& batch, std::span<double> row)>;
std::vector<std::vector<double>> rows_of_batches(const SampledSequences& sample, std::size_t width, Communicator* ranks,
                                                 const MakeRow& make);

// The mean loss over all targets, nats, each batch by its sequences; the same batches for every model that is compared,
// and the same digits on any number of ranks.
double mean_loss(const Decoder& model, const SampledSequences& sample, Communicator* ranks = nullptr);

}  // namespace mixgrad
