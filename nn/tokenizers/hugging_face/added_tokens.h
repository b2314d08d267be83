// Tokens that are found in a text before it is split into words: the added and special tokens of a Hugging Face
// tokenizer.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace mixgrad {

struct AddedToken {
  std::string content;
  std::int32_t id = 0;
  bool single_word = false;  // not where it touches a word
  bool lstrip = false;       // takes the blanks before it
  bool rstrip = false;       // takes the blanks behind it
  bool normalized = true;    // found in the normalised text, else in the text as it is
  bool special = false;
  std::string normalized_form;  // its content after the normalizers
};

// Finds some tokens by their patterns: the first match, of those that begin there the longest.
class AddedTokenFinder {
 public:
  struct Entry {
    std::string pattern;  // not empty, each different
    AddedToken token;
  };
  AddedTokenFinder() = default;
  explicit AddedTokenFinder(std::vector<Entry> entries);

  bool empty() const { return entries_.empty(); }
  std::size_t shortest() const;  // bytes of the shortest pattern; 0 without any

  // In the order of the text: on_text(begin, end) for what stands between tokens, never empty, and
  // on_token(id, begin, end) for a token with the blanks that it takes.
  template <class OnText, class OnToken>
  void split(std::string_view text, const OnText& on_text, const OnToken& on_token) const {
    std::size_t rest = 0;  // where the part begins that is not handed on yet
    for (std::size_t at = 0; (at = find(text, at)) < text.size();) {
      const Entry& entry = *longest_at(text, at);
      std::size_t begin = at;
      std::size_t end = at + entry.pattern.size();
      at = end;
      if (entry.token.single_word && (word_before(text, begin) || word_after(text, end))) continue;
      if (entry.token.lstrip) begin = std::max(blanks_before(text, begin), rest);
      if (entry.token.rstrip) end = blanks_after(text, end);
      if (rest < begin) on_text(rest, begin);
      on_token(entry.token.id, begin, end);
      rest = end;
    }
    if (rest < text.size()) on_text(rest, text.size());
  }

 private:
  std::size_t find(std::string_view text, std::size_t from) const;  // the next match, or text.size()
  const Entry* longest_at(std::string_view text, std::size_t at) const;
  static bool word_before(std::string_view text, std::size_t at);
  static bool word_after(std::string_view text, std::size_t at);
  static std::size_t blanks_before(std::string_view text, std::size_t at);
  static std::size_t blanks_after(std::string_view text, std::size_t at);

  std::vector<Entry> entries_;  // in ascending order of the patterns
  bool begins_[256] = {};       // whether a pattern begins with this byte
};

}  // namespace mixgrad
