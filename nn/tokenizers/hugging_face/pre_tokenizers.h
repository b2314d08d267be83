// How a Hugging Face tokenizer splits a text into the words within which pairs merge.
//
//   WordMaker maker({SplitStep{SplitPattern::llama3}, ByteLevelStep{}});
//   maker.split("Hello world", true, [&](std::string_view word) { ... });
//
// Of the step ByteLevel only the splitting is done here: that a byte is spelt as a character there is a matter of the
// vocabulary (hugging_face_parts.h).
#pragma once

#include <algorithm>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "nn/tokenizers/byte_pairs/split_pattern.h"

namespace mixgrad {

struct SplitStep {  // into the words of a pattern
  SplitPattern pattern;
};
struct ByteLevelStep {
  bool add_prefix_space = false;  // a space before what begins with none
  bool use_regex = true;          // split by GPT-2's pattern
};
struct MetaspaceStep {
  enum class Prepend : std::uint8_t { always, first, never };
  std::string replacement = "\u2581";  // of each space: one character
  Prepend prepend = Prepend::always;   // before what does not begin with it; first: at the start of the text alone
  bool split = true;                   // before each of them
};
using PreTokenizer = std::variant<SplitStep, ByteLevelStep, MetaspaceStep>;

// Whether the steps leave no word that crosses next_word_boundary(), so that a text may be cut there.
bool splits_into_words(const std::vector<PreTokenizer>& steps);
// The bytes that the steps can add to one text, and how many times as long they can make it.
std::size_t prefix_bytes(const std::vector<PreTokenizer>& steps);

// For one thread.
class WordMaker {
 public:
  explicit WordMaker(const std::vector<PreTokenizer>& steps);

  // word(std::string_view) for each word of the part. `at_start`: it is the beginning of the whole text.
  template <class Word>
  void split(std::string_view part, bool at_start, const Word& word) {
    apply(0, part, at_start, word);
  }

 private:
  struct Stage {
    PreTokenizer step;
    std::optional<WordSplitter> splitter;
    std::string text;  // what the step made of its part, where it changed it
  };
  // The part as the step changes it before it splits.
  static std::string_view prepared(Stage& stage, std::string_view part, bool at_start);

  template <class Word>
  void apply(std::size_t i, std::string_view given, bool at_start, const Word& word) {
    if (i == stages_.size()) {
      word(given);
      return;
    }
    Stage& stage = stages_[i];
    const std::string_view part = prepared(stage, given, at_start);
    const auto next = [&](std::string_view piece) {
      apply(i + 1, piece, at_start && piece.data() == part.data(), word);
    };
    const auto* metaspace = std::get_if<MetaspaceStep>(&stage.step);
    if (stage.splitter) {
      stage.splitter->split(part, next);
    } else if (metaspace != nullptr && metaspace->split) {
      for (std::size_t begin = 0; begin < part.size();) {
        const std::size_t end = std::min(part.find(metaspace->replacement, begin + 1), part.size());
        next(part.substr(begin, end - begin));
        begin = end;
      }
    } else {
      next(part);
    }
  }

  std::vector<Stage> stages_;
};

}  // namespace mixgrad
