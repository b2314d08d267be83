// The patterns by which byte-level tokenizers split a text into words; no merge crosses the end of a word.
//
//   WordSplitter splitter(SplitPattern::gpt2);
//   splitter.split("It's 10 o'clock", [&](std::string_view word) { ... });  // It|'s| 10| o|'|clock
//
// The words in order are the text. Each stretch of bytes that is no UTF-8 is a word, and the text before and after it
// is split by itself.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

namespace mixgrad {

enum class SplitPattern : std::uint8_t { gpt2, llama3, qwen2 };
inline constexpr SplitPattern kSplitPatterns[] = {SplitPattern::gpt2, SplitPattern::llama3, SplitPattern::qwen2};

std::string_view split_pattern_name(SplitPattern pattern);  // "gpt2"
// The regular expression, as a tokenizer.json spells it.
std::string_view split_pattern_regex(SplitPattern pattern);
std::optional<SplitPattern> split_pattern_of_regex(std::string_view regex);

// Splits texts one after the other. For one thread.
class WordSplitter {
 public:
  explicit WordSplitter(SplitPattern pattern);
  ~WordSplitter();
  WordSplitter(WordSplitter&&) noexcept;
  WordSplitter& operator=(WordSplitter&&) noexcept;

  // word(std::string_view) for each word, all of `text`.
  template <class Word>
  void split(std::string_view text, const Word& word) {
    for (std::size_t at = 0; at < text.size();) {
      const std::size_t valid = valid_stretch(text.substr(at));
      if (valid == 0) {
        const std::size_t bad = invalid_stretch(text.substr(at));
        word(text.substr(at, bad));
        at += bad;
        continue;
      }
      const std::string_view stretch = text.substr(at, valid);
      for (std::size_t begin = 0; begin < valid;) {
        const std::size_t end = word_end(stretch, begin);
        word(stretch.substr(begin, end - begin));
        begin = end;
      }
      at += valid;
    }
  }

 private:
  struct Match;
  // Where the word ends that begins at `begin` of the valid text.
  std::size_t word_end(std::string_view valid, std::size_t begin);
  static std::size_t valid_stretch(std::string_view text);    // bytes at the start that are UTF-8
  static std::size_t invalid_stretch(std::string_view text);  // bytes up to the next code point

  std::unique_ptr<Match> match_;
};

// The first position at or after `from` between two words of every pattern: before a space that follows an ASCII letter
// or digit; the end of the text when there is none. The parts of a text that is cut there have the words of the whole.
std::size_t next_word_boundary(std::string_view text, std::size_t from);

}  // namespace mixgrad
