#include "apps/generation/stop_matcher.h"

#include <algorithm>
#include <utility>

#include "apps/generation/prompt.h"
#include "core/error.h"

namespace mixgrad::app {
namespace {

bool ends_with(const Symbols& all, const Symbols& end) {
  return all.size() >= end.size() && std::equal(end.rbegin(), end.rend(), all.rbegin());
}

// The longest end of `held` that begins `stop`, but is not all of it.
std::size_t begun(const Symbols& held, const Symbols& stop) {
  for (std::size_t length = std::min(held.size(), stop.size() - 1); length > 0; --length) {
    if (std::equal(stop.begin(), stop.begin() + static_cast<std::ptrdiff_t>(length),
                   held.end() - static_cast<std::ptrdiff_t>(length))) {
      return length;
    }
  }
  return 0;
}

}  // namespace

StopTexts::StopTexts(std::vector<std::string> given, const Tokenizer& tokenizer) : texts(std::move(given)) {
  for (const std::string& text : texts) {
    Symbols of_text;
    if (tokenizer.is_text()) {
      for (const char c : text) of_text.push_back(static_cast<unsigned char>(c));
    } else {
      of_text = encode_typed(tokenizer, text, "--stop");
    }
    if (of_text.empty()) raise<ValueError>("--stop needs at least one character");
    symbols.push_back(std::move(of_text));
  }
}

Symbols StopMatcher::next(std::int32_t symbol) {
  if (stopped()) return {};
  held_.push_back(symbol);
  std::size_t longest = 0;
  std::size_t keep = 0;
  for (std::size_t i = 0; i < stops_->symbols.size(); ++i) {
    const Symbols& stop = stops_->symbols[i];
    if (ends_with(held_, stop) && stop.size() > longest) {
      longest = stop.size();
      found_ = static_cast<int>(i);
    }
    keep = std::max(keep, begun(held_, stop));
  }
  if (stopped()) keep = longest;
  const auto end = held_.end() - static_cast<std::ptrdiff_t>(keep);
  Symbols certain(held_.begin(), end);
  held_.erase(held_.begin(), end);
  if (stopped()) held_.clear();
  return certain;
}

Symbols StopMatcher::finish() { return std::exchange(held_, {}); }

}  // namespace mixgrad::app
