#include "nn/tokenizers/byte_pairs/split_pattern.h"

#include <algorithm>
#include <cstring>

#include "core/text/utf8.h"

namespace mixgrad {
namespace {

struct PatternText {
  SplitPattern pattern;
  std::string_view name, regex;
};

constexpr PatternText kTexts[] = {
    {SplitPattern::gpt2, "gpt2", R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)"},
    {SplitPattern::llama3, "llama3",
     R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)"},
    {SplitPattern::qwen2, "qwen2",
     R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)"},
};

const PatternText& text_of(SplitPattern pattern) {
  return *std::find_if(std::begin(kTexts), std::end(kTexts),
                       [&](const PatternText& text) { return text.pattern == pattern; });
}

}  // namespace

std::string_view split_pattern_name(SplitPattern pattern) { return text_of(pattern).name; }
std::string_view split_pattern_regex(SplitPattern pattern) { return text_of(pattern).regex; }

std::optional<SplitPattern> split_pattern_of_regex(std::string_view regex) {
  for (const PatternText& text : kTexts) {
    if (text.regex == regex) return text.pattern;
  }
  return std::nullopt;
}

std::size_t WordSplitter::valid_stretch(std::string_view text) {
  std::size_t at = 0;
  while (at < text.size()) {
    if (at + 8 <= text.size()) {  // eight ASCII characters at a time
      std::uint64_t bytes = 0;
      std::memcpy(&bytes, text.data() + at, 8);
      if ((bytes & 0x8080808080808080U) == 0) {
        at += 8;
        continue;
      }
    }
    if (next_code_point(text, at) < 0) return at;
  }
  return at;
}

std::size_t WordSplitter::invalid_stretch(std::string_view text) {
  for (std::size_t at = 1; at < text.size(); ++at) {
    std::size_t after = at;
    if (next_code_point(text, after) >= 0) return at;
  }
  return text.size();
}

std::size_t next_word_boundary(std::string_view text, std::size_t from) {
  const auto is_letter_or_digit = [](char c) {
    const char lower = static_cast<char>(c | 0x20);
    return (lower >= 'a' && lower <= 'z') || (c >= '0' && c <= '9');
  };
  for (std::size_t at = std::max<std::size_t>(from, 1); at < text.size(); ++at) {
    if (text[at] == ' ' && is_letter_or_digit(text[at - 1])) return at;
  }
  return text.size();
}

}  // namespace mixgrad
