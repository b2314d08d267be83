#include "nn/model/sampling.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

#include "core/error.h"
#include "nn/modules/finite_values.h"

namespace mixgrad {

void validate(const SamplingOptions& options) {
  if (!(options.temperature >= 0) || !std::isfinite(options.temperature)) {
    raise<ValueError>("sampling: temperature must be at least 0, got ", options.temperature);
  }
  if (options.top_k < 0) raise<ValueError>("sampling: top-k must be at least 0 (0 = all), got ", options.top_k);
  if (!(options.top_p > 0 && options.top_p <= 1)) {
    raise<ValueError>("sampling: top-p must be in (0,1], got ", options.top_p);
  }
  if (!(options.min_p >= 0 && options.min_p <= 1)) {
    raise<ValueError>("sampling: min-p must be in [0,1], got ", options.min_p);
  }
  if (!(options.repetition_penalty > 0) || !std::isfinite(options.repetition_penalty)) {
    raise<ValueError>("sampling: the repetition penalty must be above 0 (1 = none), got ", options.repetition_penalty);
  }
}

void penalize_repetition(std::span<double> logits, const std::vector<bool>& occurred, double penalty) {
  MIXGRAD_ASSERT(occurred.size() == logits.size(), "a mark for each logit");
  for (std::size_t v = 0; v < logits.size(); ++v) {
    if (occurred[v]) logits[v] = logits[v] > 0 ? logits[v] / penalty : logits[v] * penalty;
  }
}

double log_probability(std::span<const double> logits, std::int32_t id) {
  const double top = *std::max_element(logits.begin(), logits.end());
  double total = 0;
  for (const double logit : logits) total += std::exp(logit - top);
  return logits[static_cast<std::size_t>(id)] - top - std::log(total);
}

std::int32_t sample_token(std::span<const double> logits, const SamplingOptions& options, Rng& rng) {
  for (std::size_t i = 0; i < logits.size(); ++i) {
    if (std::isfinite(logits[i]) || logits[i] == -std::numeric_limits<double>::infinity()) continue;
    raise<NotFinite>("sampling: a logit must be finite, or -inf for a token that is never drawn; that of token ", i,
                     " is ", logits[i], "; look for parameters that are not finite or far too large");
  }
  if (logits.empty() || !std::isfinite(*std::max_element(logits.begin(), logits.end()))) {
    raise<NotFinite>("sampling: at least one logit must be finite; found none among ", logits.size());
  }
  if (options.temperature == 0) {
    return static_cast<std::int32_t>(std::max_element(logits.begin(), logits.end()) - logits.begin());
  }
  std::vector<std::int32_t> order(logits.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](std::int32_t a, std::int32_t b) {
    return logits[static_cast<std::size_t>(a)] > logits[static_cast<std::size_t>(b)];
  });
  if (options.top_k > 0 && options.top_k < static_cast<std::int64_t>(order.size())) {
    order.resize(static_cast<std::size_t>(options.top_k));
  }
  const double top = logits[static_cast<std::size_t>(order.front())];
  std::vector<double> weights;
  double total = 0;
  for (const std::int32_t id : order) {
    weights.push_back(std::exp((logits[static_cast<std::size_t>(id)] - top) / options.temperature));
    total += weights.back();
  }
  if (options.top_p < 1) {
    double kept = 0;
    std::size_t count = 0;
    while (count < weights.size() && kept < options.top_p * total) kept += weights[count++];
    weights.resize(count);
    total = kept;
  }
  if (options.min_p > 0) {  // the likeliest token has the weight 1
    while (weights.back() < options.min_p) weights.pop_back();
    total = 0;
    for (const double weight : weights) total += weight;
  }
  double point = rng.uniform() * total;
  for (std::size_t i = 0; i < weights.size(); ++i) {
    point -= weights[i];
    if (point < 0) return order[i];
  }
  return order[weights.size() - 1];  // rounding left the point at the very end
}

}  // namespace mixgrad
