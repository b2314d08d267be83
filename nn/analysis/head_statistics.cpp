#include "nn/analysis/head_statistics.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <span>

#include "core/error.h"
#include "nn/mixers/attention_mixer.h"

namespace mixgrad {
namespace {

// The baselines of a head that sees min(i, window) keys at query i, counted from 1.
void set_uniform(HeadStatistic& head, std::int64_t n, std::int64_t k) {
  head.uniform_recency = uniform_recency(n, k, head.window);
  for (std::int64_t i = 1; i <= n; ++i) {
    const std::int64_t seen = head.window > 0 ? std::min(i, head.window) : i;
    if (seen == i) head.uniform_first += 1 / static_cast<double>(i) / static_cast<double>(n);
    head.uniform_entropy += std::log(static_cast<double>(seen)) / static_cast<double>(n);
  }
}

// Mean ranks, from 0.
std::vector<double> ranks(const std::vector<double>& values) {
  std::vector<std::size_t> order(values.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return values[a] < values[b]; });
  std::vector<double> result(values.size());
  for (std::size_t first = 0; first < order.size();) {
    std::size_t end = first;
    while (end < order.size() && values[order[end]] == values[order[first]]) ++end;
    for (std::size_t i = first; i < end; ++i) result[order[i]] = static_cast<double>(first + end - 1) / 2;
    first = end;
  }
  return result;
}

}  // namespace

HeadStatistics head_statistics(const Decoder& model, const SampledSequences& sample, std::int64_t window,
                               Communicator* ranks) {
  HeadStatistics all{.length = sample.length, .window = window, .sequences = sample.count};
  all.groups = softmax_groups(model.config());
  const auto ranges = static_cast<std::size_t>(attention_ranges(sample.length));
  std::vector<std::size_t> first_of_layer(model.config().layers.size());
  for (const SoftmaxGroup& group : all.groups) {
    if (group.index == 0) first_of_layer[static_cast<std::size_t>(group.id.layer)] = all.heads.size();
    for (const std::int64_t head : group.heads) {
      all.heads.push_back({.group = group.id, .head = head, .window = group.window});
      all.heads.back().by_distance.resize(ranges);
      set_uniform(all.heads.back(), sample.length, window);
    }
  }
  // Of each head: recency, then what softmax_profile() gives, summed over the sequences of a batch.
  const std::size_t width = 3 + ranges;
  const auto make = [&](const SampledSequences::Batch& batch, std::span<double> row) {
    model.visit(batch.tokens, [&](std::size_t l, const Mixer& mixer, const LayerInput& input) {
      Tensor ratios = mixer.recency(input, window);
      if (!ratios.defined()) return;
      ratios = ratios.to(kCpu);
      const Tensor profile = mixer.softmax_profile(input).to(kCpu);  // [B,H,2 + R]
      const std::int64_t heads = profile.dim(1);
      const std::span<double> of_layer = row.subspan(first_of_layer[l] * width);
      for (std::int64_t i = 0; i < profile.numel(); ++i) {
        const auto head = static_cast<std::size_t>(i / profile.dim(2) % heads);
        of_layer[head * width + 1 + static_cast<std::size_t>(i % profile.dim(2))] += profile.at(i);
      }
      for (std::int64_t h = 0; h < heads; ++h) {
        of_layer[static_cast<std::size_t>(h) * width] += ratios.at(h) * static_cast<double>(batch.tokens.dim(0));
      }
    });
  };
  const double share = 1 / static_cast<double>(sample.count);
  const double of_query = share / static_cast<double>(sample.length);
  for (const std::vector<double>& row : rows_of_batches(sample, all.heads.size() * width, ranks, make)) {
    for (std::size_t h = 0; h < all.heads.size(); ++h) {
      HeadStatistic& head = all.heads[h];
      const double* numbers = row.data() + h * width;
      head.recency += numbers[0] * share;
      head.first += numbers[1] * of_query;
      head.entropy += numbers[2] * of_query;
      for (std::size_t r = 0; r < ranges; ++r) head.by_distance[r] += numbers[3 + r] * of_query;
    }
  }
  for (const SoftmaxGroup& group : all.groups) {
    double mean = 0;
    for (const HeadStatistic& head : all.heads) {
      if (head.group == group.id) mean += head.recency / static_cast<double>(group.heads.size());
    }
    all.group_recency.push_back(mean);
  }
  return all;
}

std::vector<double> losses_without_groups(Decoder& model, const SampledSequences& sample, Communicator* ranks) {
  std::vector<double> losses;
  for (const SoftmaxGroup& group : softmax_groups(model.config())) {
    const QkvRows rows = qkv_rows(model.config(), group.id.layer);
    std::vector<std::pair<Tensor, Tensor>> kept;  // where, and what stood there
    for (const char* name : {"qkv.weight", "qkv.bias"}) {
      const Parameter* parameter = model.parameters().find(mixer_prefix(group.id.layer) + name);
      if (parameter == nullptr) continue;
      const Tensor values = parameter->value.slice(rows.value(group.index), rows.value(group.index) + rows.head_dim);
      kept.emplace_back(values, values.clone());
      values.fill(0);
    }
    try {
      losses.push_back(mean_loss(model, sample, ranks));
    } catch (...) {
      for (const auto& [where, what] : kept) where.copy_from(what);
      throw;
    }
    for (const auto& [where, what] : kept) where.copy_from(what);
  }
  return losses;
}

double spearman(const std::vector<double>& a, const std::vector<double>& b) {
  MIXGRAD_ASSERT(a.size() == b.size(), "two lists of equal length");
  const std::vector<double> of_a = ranks(a);
  const std::vector<double> of_b = ranks(b);
  const double middle = (static_cast<double>(a.size()) - 1) / 2;
  double both = 0;
  double squares_a = 0;
  double squares_b = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    both += (of_a[i] - middle) * (of_b[i] - middle);
    squares_a += (of_a[i] - middle) * (of_a[i] - middle);
    squares_b += (of_b[i] - middle) * (of_b[i] - middle);
  }
  if (squares_a == 0 || squares_b == 0) return std::numeric_limits<double>::quiet_NaN();
  return both / std::sqrt(squares_a * squares_b);
}

}  // namespace mixgrad
