// Where the softmax heads of a model look, on sequences of a text, and what the model loses without each group of them.
//   const HeadStatistics heads = head_statistics(model, sample, 64);
//   const std::vector<double> losses = losses_without_groups(model, sample);
//   spearman(recencies, losses)
#pragma once

#include <vector>

#include "nn/analysis/sample_sequences.h"
#include "nn/analysis/softmax_groups.h"

namespace mixgrad {

// All are means over sequences and queries. A uniform head gives the same attention to every key that it sees.
struct HeadStatistic {
  GroupId group;
  std::int64_t head = 0;  // its number in the layer
  std::int64_t window = 0;
  double recency = 0, uniform_recency = 0;  // attention on a token itself and the k before it
  double first = 0, uniform_first = 0;      // attention on the first token of the sequence
  double entropy = 0, uniform_entropy = 0;  // of the attention, nats
  std::vector<double> by_distance{};        // attention at distance 0, 1, 2-3, 4-7, ...; sums to 1
};

struct HeadStatistics {
  std::int64_t length = 0, window = 0, sequences = 0;  // n, k and how many
  std::vector<HeadStatistic> heads{};                  // ordered by (layer, head)
  std::vector<SoftmaxGroup> groups{};                  // ordered by (layer, group)
  std::vector<double> group_recency{};                 // mean over the heads of each group
};
// In a job of several processes (`ranks`) each runs its share of the batches, and all get the digits of one process.
HeadStatistics head_statistics(const Decoder& model, const SampledSequences& sample, std::int64_t window,
                               Communicator* ranks = nullptr);

// The loss on the sample when the heads of one softmax group give nothing, for each of softmax_groups(). The values'
// rows of a group are set to zero and put back; the model is as it was.
std::vector<double> losses_without_groups(Decoder& model, const SampledSequences& sample,
                                          Communicator* ranks = nullptr);

// Spearman's rank correlation of two lists of equal length, ties at their mean rank; nan when one of them has fewer
// than two different values.
double spearman(const std::vector<double>& a, const std::vector<double>& b);

}  // namespace mixgrad
