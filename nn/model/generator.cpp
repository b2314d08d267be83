#include "nn/model/generator.h"

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "nn/modules/finite_values.h"

namespace mixgrad {

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
  const Tensor all = tokens.size() == 1 ? session_.step(input) : session_.prefill(input);
  const std::int64_t vocab_size = model_.config().vocab_size;
  const Tensor last = all.reshape({input.dim(1), vocab_size}).slice(input.dim(1) - 1, input.dim(1));
  if (session_.draw() != nullptr) logits_on_device_ = last.reshape({1, 1, vocab_size});
  const Tensor logits = last.to(kCpu);
  logits_.resize(static_cast<std::size_t>(vocabulary_));
  for (std::int64_t v = 0; v < vocabulary_; ++v) logits_[static_cast<std::size_t>(v)] = logits.at(v);
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
  if (TokenDraw* draw = session_.draw()) return next_on_device(*draw);
  const std::int32_t token = sample_token(logits_, options_, rng_);
  if (model_.config().positions == Positions::learned) {
    recent_.push_back(token);
    if (session_.state().position() == model_.config().context) {
      restart();
      return token;
    }
  }
  consume(std::span(&token, 1));
  return token;
}

std::int32_t Generator::next_on_device(TokenDraw& draw) {
  std::vector<double> uniforms;
  if (options_.temperature > 0) uniforms.push_back(rng_.uniform());
  draw.draw(logits_on_device_, vocabulary_, options_, uniforms);
  const bool learned = model_.config().positions == Positions::learned;
  const bool full = learned && session_.state().position() == model_.config().context;
  if (!full) logits_on_device_ = session_.step_drawn();  // queued: the token is there before the step has run
  const TokenDraw::Drawn drawn = draw.wait().front();
  if (drawn.finite == 0) raise_not_finite("generate", "the logits", drawn.logit, model_.parameters());
  if (learned) recent_.push_back(drawn.id);
  if (full) restart();
  return drawn.id;
}

// The context is full: the state is built again from the last tokens.
void Generator::restart() {
  const auto keep = static_cast<std::size_t>(kept_tokens(model_.config().context));
  recent_.erase(recent_.begin(), recent_.end() - static_cast<std::ptrdiff_t>(keep));
  session_.reset();
  restarted_ = true;
  consume(recent_);
}

}  // namespace mixgrad
