// Where a generated text ends: at the first of several stop texts, which is no part of it.
//
//   StopMatcher matcher(StopTexts({"\n\n"}, tokenizer));
//   text += matcher.next(byte);                 // what can no longer be the beginning of a stop text
//   if (!matcher.stopped()) text += matcher.finish();
//
// Of a model of text the symbols are bytes, of one of ids they are the ids.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "nn/tokenizers/tokenizer.h"

namespace mixgrad::app {

using Symbols = std::vector<std::int32_t>;

// The stop texts as they were given, and as symbols. ValueError for one that is empty, or no ids of a model of ids.
struct StopTexts {
  StopTexts(std::vector<std::string> given, const Tokenizer& tokenizer);

  std::vector<std::string> texts;
  std::vector<Symbols> symbols;
  std::optional<std::int32_t> end_token = {};  // ends a continuation too, and is no part of its text
};

class StopMatcher {
 public:
  explicit StopMatcher(const StopTexts& stops) : stops_(&stops) {}

  // The symbols that are certain now to belong to the text. Nothing after a stop text.
  Symbols next(std::int32_t symbol);
  // What was held back because it could have begun a stop text.
  Symbols finish();
  bool stopped() const { return found_ >= 0; }
  // The stop text that was found.
  const std::string& stop() const { return stops_->texts.at(static_cast<std::size_t>(found_)); }

 private:
  const StopTexts* stops_;
  Symbols held_;
  int found_ = -1;
};

}  // namespace mixgrad::app
