#include "nn/tokenizers/hugging_face/added_tokens.h"

#include <algorithm>

#include "core/build.h"
#include "core/error.h"
#include "core/text/utf8.h"
#include "nn/tokenizers/text_libraries.h"

#if MIXGRAD_HAS_TEXT_LIBRARIES
#include <utf8proc.h>
#endif

namespace mixgrad {
namespace {

// White_Space of Unicode.
bool is_blank(std::int32_t code) {
  return (code >= 0x09 && code <= 0x0d) || code == 0x20 || code == 0x85 || code == 0xa0 || code == 0x1680 ||
         (code >= 0x2000 && code <= 0x200a) || code == 0x2028 || code == 0x2029 || code == 0x202f || code == 0x205f ||
         code == 0x3000;
}

// A character of a word (\w): Alphabetic, marks, decimal digits, connector punctuation, the joiners. Alphabetic is the
// letters, the letter numbers, marks, and these symbols.
bool is_word(std::int32_t code) {
  if (code < 0) return false;
#if MIXGRAD_HAS_TEXT_LIBRARIES
  switch (utf8proc_category(code)) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_PC: return true;
    default:
      return code == 0x200c || code == 0x200d || (code >= 0x24b6 && code <= 0x24e9) ||
             (code >= 0x1f130 && code <= 0x1f149) || (code >= 0x1f150 && code <= 0x1f169) ||
             (code >= 0x1f170 && code <= 0x1f189);
  }
#else
  raise_without_text_libraries("added tokens that are words of their own");
#endif
}

// The code point that ends at `at`, and where it begins; -1 for a byte that ends none.
std::int32_t previous_code_point(std::string_view text, std::size_t at, std::size_t& begin) {
  for (std::size_t length = 1; length <= 4 && length <= at; ++length) {
    begin = at - length;
    std::size_t end = begin;
    const std::int32_t code = next_code_point(text, end);
    if (code >= 0 && end == at) return code;
  }
  begin = at - 1;
  return -1;
}

}  // namespace

AddedTokenFinder::AddedTokenFinder(std::vector<Entry> entries) : entries_(std::move(entries)) {
  std::sort(entries_.begin(), entries_.end(), [](const Entry& a, const Entry& b) { return a.pattern < b.pattern; });
  for (const Entry& entry : entries_) {
    MIXGRAD_ASSERT(!entry.pattern.empty(), "the pattern of an added token is not empty");
    begins_[static_cast<unsigned char>(entry.pattern[0])] = true;
  }
}

std::size_t AddedTokenFinder::shortest() const {
  std::size_t shortest = 0;
  for (const Entry& entry : entries_) {
    if (shortest == 0 || entry.pattern.size() < shortest) shortest = entry.pattern.size();
  }
  return shortest;
}

std::size_t AddedTokenFinder::find(std::string_view text, std::size_t from) const {
  if (entries_.empty()) return text.size();
  for (std::size_t at = from; at < text.size(); ++at) {
    if (begins_[static_cast<unsigned char>(text[at])] && longest_at(text, at) != nullptr) return at;
  }
  return text.size();
}

// Narrows the sorted patterns to those that have the first, the second, ... byte of the text; the longest that is used
// up on the way is the match.
const AddedTokenFinder::Entry* AddedTokenFinder::longest_at(std::string_view text, std::size_t at) const {
  const Entry* match = nullptr;
  auto low = entries_.begin();
  auto high = entries_.end();
  for (std::size_t i = 0; at + i < text.size() && low != high; ++i) {
    const auto byte = static_cast<unsigned char>(text[at + i]);
    const auto byte_of = [i](const Entry& entry) {
      return i < entry.pattern.size() ? static_cast<int>(static_cast<unsigned char>(entry.pattern[i])) : -1;
    };
    low = std::partition_point(low, high, [&](const Entry& entry) { return byte_of(entry) < byte; });
    high = std::partition_point(low, high, [&](const Entry& entry) { return byte_of(entry) == byte; });
    if (low != high && low->pattern.size() == i + 1) match = &*low;
  }
  return match;
}

bool AddedTokenFinder::word_before(std::string_view text, std::size_t at) {
  std::size_t begin = 0;
  return at > 0 && is_word(previous_code_point(text, at, begin));
}

bool AddedTokenFinder::word_after(std::string_view text, std::size_t at) {
  return at < text.size() && is_word(next_code_point(text, at));
}

std::size_t AddedTokenFinder::blanks_before(std::string_view text, std::size_t at) {
  while (at > 0) {
    std::size_t begin = 0;
    if (!is_blank(previous_code_point(text, at, begin))) break;
    at = begin;
  }
  return at;
}

std::size_t AddedTokenFinder::blanks_after(std::string_view text, std::size_t at) {
  while (at < text.size()) {
    std::size_t end = at;
    if (!is_blank(next_code_point(text, end))) break;
    at = end;
  }
  return at;
}

}  // namespace mixgrad
