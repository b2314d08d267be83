#include "core/text/suggest.h"

#include <algorithm>
#include <cctype>
#include <cstddef>
#include <iterator>
#include <optional>

#include "core/text/escape.h"

namespace mixgrad {
namespace {

constexpr std::size_t kMaxWord = 64;  // longer words are not misspelt names, and would cost time

std::string folded(std::string_view word) {
  std::string result(word);
  std::erase_if(result, [](char c) { return c == '-' || c == '_'; });  // dff, d-ff and d_ff are one word
  for (char& c : result) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return result;
}

// Optimal string alignment: three rows of the usual table.
std::size_t edit_distance(const std::string& a, const std::string& b) {
  std::vector<std::size_t> before_last(b.size() + 1);
  std::vector<std::size_t> last(b.size() + 1);
  std::vector<std::size_t> row(b.size() + 1);
  for (std::size_t j = 0; j <= b.size(); ++j) last[j] = j;
  for (std::size_t i = 1; i <= a.size(); ++i) {
    row[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      row[j] = std::min({last[j] + 1, row[j - 1] + 1, last[j - 1] + (a[i - 1] == b[j - 1] ? 0U : 1U)});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) {
        row[j] = std::min(row[j], before_last[j - 2] + 1);
      }
    }
    std::swap(before_last, last);
    std::swap(last, row);
  }
  return last[b.size()];
}

std::string digits_of(const std::string& word) {
  std::string digits;
  std::copy_if(word.begin(), word.end(), std::back_inserter(digits), [](char c) { return c >= '0' && c <= '9'; });
  return digits;
}

bool same_letters(std::string a, std::string b) {
  std::sort(a.begin(), a.end());
  std::sort(b.begin(), b.end());
  return a == b;
}

// How many edits make `wanted` the candidate; nothing when it cannot have been meant.
std::optional<std::size_t> edits_between(const std::string& wanted, const std::string& candidate) {
  if (digits_of(wanted) != digits_of(candidate)) return std::nullopt;  // another number is not a typing mistake
  const std::size_t distance = edit_distance(wanted, candidate);
  const std::size_t shorter = std::min(wanted.size(), candidate.size());
  // Among words of up to three letters one other letter makes another word; only their order can be a slip.
  const bool near = std::max(wanted.size(), candidate.size()) < 4
                        ? distance == 0 || (distance == 1 && same_letters(wanted, candidate))
                        : distance <= std::max<std::size_t>(1, shorter / 4);
  return near ? std::optional(distance) : std::nullopt;
}

// The one candidate that begins with `wanted`, or "".
std::string completed(const std::string& wanted, const std::vector<std::string>& candidates) {
  constexpr std::size_t kShortest = 3;
  std::string found;
  if (wanted.size() < kShortest) return found;
  for (const std::string& candidate : candidates) {
    if (!folded(candidate).starts_with(wanted)) continue;
    if (!found.empty()) return {};
    found = candidate;
  }
  return found;
}

}  // namespace

std::string nearest(std::string_view word, const std::vector<std::string>& candidates) {
  if (word.size() < 2 || word.size() > kMaxWord) return {};
  const std::string wanted = folded(word);
  std::string best;
  std::optional<std::size_t> fewest;
  bool several = false;
  for (const std::string& candidate : candidates) {
    const std::optional<std::size_t> edits = edits_between(wanted, folded(candidate));
    if (!edits || (fewest && *edits > *fewest)) continue;
    several = fewest && *edits == *fewest && candidate != best;
    fewest = edits;
    best = candidate;
  }
  if (several) return {};
  return best.empty() ? completed(wanted, candidates) : best;
}

std::string did_you_mean(std::string_view word, const std::vector<std::string>& candidates) {
  const std::string best = nearest(word, candidates);
  return best.empty() ? "" : "did you mean " + quote(best) + "? ";
}

std::string join(const std::vector<std::string>& words) {
  std::string text;
  for (const std::string& word : words) text += (text.empty() ? "" : ", ") + word;
  return text;
}

std::string quote(std::string_view word, std::size_t max_bytes) {
  std::size_t end = std::min(word.size(), max_bytes);
  while (end < word.size() && end > 0 && (static_cast<unsigned char>(word[end]) & 0xc0U) == 0x80U) --end;
  const std::string text = "\"" + escaped(word.substr(0, end), ControlForm::hex, EscapeQuotes::yes);
  return text + (end < word.size() ? "...\"" : "\"");
}

}  // namespace mixgrad
