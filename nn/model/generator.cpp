#include "nn/model/generator.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

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
  double point = rng.uniform() * total;
  for (std::size_t i = 0; i < weights.size(); ++i) {
    point -= weights[i];
    if (point < 0) return order[i];
  }
  return order[weights.size() - 1];  // rounding left the point at the very end
}

Generator::Generator(const Decoder& model, std::int64_t vocabulary, const SamplingOptions& options, std::uint64_t seed)
    : model_(model),
      vocabulary_(vocabulary),
      options_(options),
      rng_(seed),
      session_(model, 1, model.config().context) {
  validate(options);
}

void Generator::consume(std::span<const std::int32_t> tokens) {
  const Tensor input = Tensor::from_i32(tokens, {1, static_cast<std::int64_t>(tokens.size())});
  const Tensor logits = (tokens.size() == 1 ? session_.step(input) : session_.prefill(input)).to(kCpu);
  const std::int64_t last = (input.dim(1) - 1) * model_.config().vocab_size;
  logits_.resize(static_cast<std::size_t>(vocabulary_));
  for (std::int64_t v = 0; v < vocabulary_; ++v) logits_[static_cast<std::size_t>(v)] = logits.at(last + v);
  for (const double logit : logits_) {
    if (!std::isfinite(logit)) raise_not_finite("generate", "the logits", logit, model_.parameters());
  }
}

void Generator::prompt(std::span<const std::int32_t> tokens) {
  if (tokens.empty()) raise<ValueError>("generate: the prompt needs at least one token");
  const std::int64_t context = model_.config().context;
  if (model_.config().positions == Positions::learned) {
    if (static_cast<std::int64_t>(tokens.size()) > context) {
      tokens = tokens.last(static_cast<std::size_t>(context));
      restarted_ = true;
    }
    recent_.assign(tokens.begin(), tokens.end());
  }
  // A long prompt goes in pieces of the context, so that no logits of the whole of it are held.
  const auto piece = static_cast<std::size_t>(context);
  for (std::size_t at = 0; at < tokens.size(); at += piece) {
    consume(tokens.subspan(at, std::min(piece, tokens.size() - at)));
  }
}

std::int32_t Generator::next() {
  const std::int32_t token = sample_token(logits_, options_, rng_);
  const std::int64_t context = model_.config().context;
  if (model_.config().positions == Positions::learned) {
    recent_.push_back(token);
    if (session_.state().position() == context) {
      const auto keep = static_cast<std::size_t>(kept_tokens(context));
      recent_.erase(recent_.begin(), recent_.end() - static_cast<std::ptrdiff_t>(keep));
      session_.reset();
      restarted_ = true;
      consume(recent_);
      return token;
    }
  }
  consume(std::span(&token, 1));
  return token;
}

}  // namespace mixgrad
