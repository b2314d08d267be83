// What a Hugging Face tokenizer does to a text before it is split: the normalizers that this library knows.
#pragma once

#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace mixgrad {

struct PrependNormalizer {  // puts `text` before a text that is not empty
  std::string text;
};
struct ReplaceNormalizer {  // replaces each `pattern`, from left to right
  std::string pattern, content;
};
struct NfcNormalizer {};  // Unicode's composed form; bytes that are not UTF-8 stay
using Normalizer = std::variant<PrependNormalizer, ReplaceNormalizer, NfcNormalizer>;

// The text after all of them. `scratch` holds it, unless it is `text` itself.
std::string_view normalize(const std::vector<Normalizer>& normalizers, std::string_view text, std::string& scratch);

// How many times as long a text can become, and what is added to it besides.
struct Growth {
  std::size_t factor = 1;
  std::size_t bytes = 0;
};
Growth growth(const std::vector<Normalizer>& normalizers);

// `text` with each `pattern` (not empty) replaced, from left to right.
std::string replaced(std::string_view text, std::string_view pattern, std::string_view content);

}  // namespace mixgrad
