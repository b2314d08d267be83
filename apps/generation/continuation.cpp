#include "apps/generation/continuation.h"

#include <utility>

namespace mixgrad::app {

Continuation::Continuation(const Tokenizer& tokenizer, std::vector<std::int32_t> prompt, const StopTexts& stops,
                           std::int64_t tokens, std::size_t hidden, Keep keep)
    : tokenizer_(tokenizer),
      prompt_(std::move(prompt)),
      most_(tokens),
      keep_(keep),
      end_token_(stops.end_token),
      decoder_(tokenizer.new_decoder()),
      matcher_(stops) {
  for (std::size_t i = hidden; i < prompt_.size(); ++i) prompt_text_ += decoder_->next(prompt_[i]);
  if (ended()) prompt_text_ += decoder_->finish();
}

std::string Continuation::take(const Symbols& symbols) {
  std::string text;
  for (const std::int32_t symbol : symbols) {
    if (tokenizer_.is_text()) {
      text += static_cast<char>(symbol);
    } else {
      if (keep_ == Keep::everything) ids_.push_back(symbol);
      text += tokenizer_.piece(symbol);
    }
  }
  if (keep_ == Keep::everything) text_ += text;
  return text;
}

std::string Continuation::next(const BatchGenerator::Drawn& drawn) {
  ++taken_;
  if (keep_ == Keep::everything) drawn_.push_back(drawn);
  at_end_token_ = end_token_ == drawn.id;
  const bool last = at_end_token_ || taken_ >= most_;
  std::string text;
  if (tokenizer_.is_text()) {
    std::string complete = at_end_token_ ? std::string() : decoder_->next(drawn.id);
    if (last) complete += decoder_->finish();
    for (const char c : complete) text += take(matcher_.next(static_cast<unsigned char>(c)));
  } else if (!at_end_token_) {
    text += take(matcher_.next(drawn.id));
  }
  if (last && !matcher_.stopped()) text += take(matcher_.finish());
  return text;
}

}  // namespace mixgrad::app
