#include "nn/model/batch_generator.h"

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "core/text/plural.h"
#include "nn/modules/finite_values.h"

namespace mixgrad {

BatchGenerator::BatchGenerator(const Decoder& model, std::int64_t vocabulary, const SamplingOptions& options,
                               const std::vector<std::uint64_t>& seeds, LogProbabilities log_probabilities)
    : model_(model),
      vocabulary_(vocabulary),
      options_(options),
      log_probabilities_(log_probabilities),
      rngs_(seeds.begin(), seeds.end()),
      session_(model, static_cast<std::int64_t>(seeds.size()), model.config().context),
      drawn_(seeds.size()),
      tokens_(seeds.size(), std::vector<std::int32_t>(1)),
      logits_(seeds.size(), std::vector<double>(static_cast<std::size_t>(vocabulary))) {
  validate(options);
}

bool BatchGenerator::draws_on_device() {
  const bool needs_logits = options_.repetition_penalty != 1 || log_probabilities_ == LogProbabilities::yes;
  return !needs_logits && session_.draw() != nullptr;
}

// The tokens [begin, begin + count) of each row.
void BatchGenerator::consume(const Rows& all, std::size_t begin, std::size_t count) {
  const auto batch = static_cast<std::int64_t>(rows());
  const auto tokens = [&](std::size_t from, std::size_t length) {
    std::vector<std::int32_t> ids;
    for (const std::vector<std::int32_t>& row : all) {
      ids.insert(ids.end(), row.begin() + static_cast<std::ptrdiff_t>(from),
                 row.begin() + static_cast<std::ptrdiff_t>(from + length));
    }
    return Tensor::from_i32(ids, {batch, static_cast<std::int64_t>(length)});
  };
  const std::int64_t vocab_size = model_.config().vocab_size;
  if (batch == 1 && count > 1) {
    const Tensor logits = session_.prefill(tokens(begin, count));
    const auto last = static_cast<std::int64_t>(count);
    return take_logits(logits.reshape({last, vocab_size}).slice(last - 1, last));
  }
  // Of several rows the last tokens lie apart in what prefill returns: they are given to a step of their own.
  if (count > 1) session_.prefill(tokens(begin, count - 1));
  take_logits(session_.step(tokens(begin + count - 1, 1)));
}

void BatchGenerator::take_logits(const Tensor& last) {
  const auto batch = static_cast<std::int64_t>(rows());
  const std::int64_t vocab_size = model_.config().vocab_size;
  if (session_.draw() != nullptr) logits_on_device_ = last.reshape({batch, 1, vocab_size});
  const Tensor logits = last.to(kCpu);
  for (std::int64_t b = 0; b < batch; ++b) {
    std::vector<double>& row = logits_[static_cast<std::size_t>(b)];
    for (std::int64_t v = 0; v < vocabulary_; ++v) row[static_cast<std::size_t>(v)] = logits.at(b * vocab_size + v);
    for (const double logit : row) {
      if (!std::isfinite(logit)) raise_not_finite("generate", "the logits", logit, model_.parameters());
    }
  }
}

void BatchGenerator::prompt(const Rows& prompts) {
  MIXGRAD_ASSERT(prompts.size() == rows() && prompts_.empty(), "a prompt for each row, once");
  const auto context = static_cast<std::size_t>(model_.config().context);
  const bool learned = model_.config().positions == Positions::learned;
  if (options_.repetition_penalty != 1) {
    occurred_.assign(rows(), std::vector<bool>(static_cast<std::size_t>(vocabulary_)));
  }
  std::size_t shortest = SIZE_MAX;
  for (const std::vector<std::int32_t>& prompt : prompts) {
    if (prompt.empty()) raise<ValueError>("generate: the prompt needs at least one token");
    for (std::size_t i = 0; i < prompt.size() && !occurred_.empty(); ++i) {
      if (prompt[i] >= 0 && prompt[i] < vocabulary_) {
        occurred_[prompts_.size()][static_cast<std::size_t>(prompt[i])] = true;
      }
    }
    const bool cut = learned && prompt.size() > context;
    restarted_ = restarted_ || cut;
    prompts_.emplace_back(prompt.end() - static_cast<std::ptrdiff_t>(cut ? context : prompt.size()), prompt.end());
    shortest = std::min(shortest, prompts_.back().size());
    longest_ = std::max(longest_, prompts_.back().size());
    if (learned) recent_.emplace_back();
  }
  for (std::size_t b = 0; b < recent_.size(); ++b) {
    recent_[b].assign(prompts_[b].begin(), prompts_[b].begin() + static_cast<std::ptrdiff_t>(shortest));
  }
  // A long prompt goes in pieces of the context, so that no logits of the whole of it are held.
  const std::size_t piece = std::max<std::size_t>(context / rows(), 1);
  for (std::size_t at = 0; at < shortest; at += piece) consume(prompts_, at, std::min(piece, shortest - at));
  read_ = shortest;
}

std::span<const BatchGenerator::Drawn> BatchGenerator::next() {
  if (draws_on_device()) {
    next_on_device(*session_.draw());
  } else {
    next_on_host();
  }
  ++read_;
  return drawn_;
}

void BatchGenerator::next_on_host() {
  for (std::size_t b = 0; b < rows(); ++b) draw_on_host(b);
  const bool full = context_is_full();
  remember();
  if (full) {
    restart();
  } else {
    consume(tokens_, 0, 1);
  }
}

void BatchGenerator::draw_on_host(std::size_t row) {
  if (reading(row)) {
    drawn_[row] = {};
    tokens_[row][0] = prompts_[row][read_];
    return;
  }
  std::vector<double>& logits = logits_[row];
  const bool asked = log_probabilities_ == LogProbabilities::yes;
  const std::vector<double> own = asked ? logits : std::vector<double>();
  if (!occurred_.empty()) penalize_repetition(logits, occurred_[row], options_.repetition_penalty);
  const std::int32_t id = sample_token(logits, options_, rngs_[row]);
  drawn_[row] = {id, asked ? log_probability(own, id) : 0};
  tokens_[row][0] = id;
  if (!occurred_.empty()) occurred_[row][static_cast<std::size_t>(id)] = true;
}

void BatchGenerator::next_on_device(TokenDraw& draw) {
  std::vector<double> uniforms;
  for (std::size_t b = 0; b < rows() && options_.temperature > 0; ++b) {
    uniforms.push_back(reading(b) ? 0 : rngs_[b].uniform());
  }
  draw.draw(logits_on_device_, vocabulary_, options_, uniforms);
  const bool full = context_is_full();
  const bool all_drawn = read_ >= longest_;
  if (!full && all_drawn) logits_on_device_ = session_.step_drawn();  // queued: the tokens are there before it has run
  const auto results = draw.wait();
  for (std::size_t b = 0; b < rows(); ++b) {
    if (results[b].finite == 0) raise_not_finite("generate", "the logits", results[b].logit, model_.parameters());
    drawn_[b] = {reading(b) ? kReading : results[b].id, 0};
    tokens_[b][0] = reading(b) ? prompts_[b][read_] : results[b].id;
  }
  remember();
  if (full) {
    restart();
  } else if (!all_drawn) {
    consume(tokens_, 0, 1);
  }
}

bool BatchGenerator::context_is_full() const {
  const ModelConfig& config = model_.config();
  return config.positions == Positions::learned && session_.state().position() == config.context;
}

void BatchGenerator::remember() {
  for (std::size_t b = 0; b < recent_.size(); ++b) recent_[b].push_back(tokens_[b][0]);
}

// The context is full: the state is built again from the last tokens.
void BatchGenerator::restart() {
  const auto keep = static_cast<std::size_t>(kept_tokens(model_.config().context));
  for (std::vector<std::int32_t>& row : recent_) row.erase(row.begin(), row.end() - static_cast<std::ptrdiff_t>(keep));
  session_.reset();
  restarted_ = true;
  consume(recent_, 0, keep);
}

}  // namespace mixgrad
