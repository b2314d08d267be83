// The characters of a text that a vocabulary lacks, and what becomes of them.
//
//   const FittedText fitted = fit_text(text, *tokenizer, UnknownRule::skip(), "my.txt");
//   tokenizer->encode(fitted.misfits.empty() ? text : fitted.text);
//
// Only a tokenizer whose vocabulary is one of characters has misfits (Tokenizer::expresses_any_text).
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "core/error.h"
#include "nn/tokenizers/tokenizer.h"

namespace mixgrad {

// Where a character stands: lines and columns (characters of the line) count from 1, bytes from 0.
struct TextPosition {
  std::int64_t line = 1, column = 1;
  std::size_t byte = 0;
};

struct Misfits {
  struct Kind {
    char32_t code = 0;
    std::int64_t count = 0;
    TextPosition first;
  };
  std::vector<Kind> kinds;  // the most frequent first, equally frequent ones in the order of the text
  std::int64_t count = 0;   // of all kinds

  bool empty() const { return kinds.empty(); }
  // "'é' (U+00E9) 7 times, first at line 2, column 1 (byte 40); ..." of the first ten kinds, and how many more there
  // are.
  std::string list() const;
};

// What becomes of characters outside the vocabulary.
struct UnknownRule {
  enum class Action : std::uint8_t { refuse, skip, replace };
  Action action = Action::refuse;
  char32_t replacement = 0;  // of `replace`

  static UnknownRule skip() { return {.action = Action::skip}; }
  static UnknownRule replace_by(char32_t code) { return {.action = Action::replace, .replacement = code}; }
};

struct FittedText {
  std::string text;  // empty when there are no misfits
  Misfits misfits;
};

// The text without its misfits, or with the replacement in place of each. `progress` is called about every MiB with the
// number of bytes read so far. ValueError: the rule is `refuse` and there are misfits (raise_misfits), or the
// vocabulary lacks the replacement; FormatError: the text is not UTF-8.
FittedText fit_text(std::string_view text, const Tokenizer& tokenizer, const UnknownRule& rule,
                    const std::string& source, const std::function<void(std::size_t bytes)>& progress = {});

// Characters that the vocabulary lacks.
struct MisfitError : ValueError {
  using ValueError::ValueError;
};

// MisfitError that lists all characters of the text that the vocabulary lacks; there is at least one.
[[noreturn]] void raise_misfits(std::string_view text, const Tokenizer& tokenizer, const std::string& source);

// FormatError for the byte at `offset`, at which no character begins; `reader` needs UTF-8.
[[noreturn]] void raise_not_utf8(std::string_view text, std::size_t offset, const std::string& source,
                                 const std::string& reader);

}  // namespace mixgrad
