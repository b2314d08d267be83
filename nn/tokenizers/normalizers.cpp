#include "nn/tokenizers/normalizers.h"

#include <utf8proc.h>

#include <algorithm>
#include <cstdlib>
#include <memory>

#include "core/error.h"
#include "core/text/utf8.h"

namespace mixgrad {
namespace {

// Below U+0300 every character is composed, and none combines with the one before it.
bool is_surely_composed(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return static_cast<unsigned char>(c) < 0xcc; });
}

void append_composed(std::string_view valid, std::string& out) {
  if (is_surely_composed(valid)) {
    out += valid;
    return;
  }
  utf8proc_uint8_t* composed = nullptr;
  const utf8proc_ssize_t size =
      utf8proc_map(reinterpret_cast<const utf8proc_uint8_t*>(valid.data()), static_cast<utf8proc_ssize_t>(valid.size()),
                   &composed, static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_COMPOSE));
  const std::unique_ptr<utf8proc_uint8_t, void (*)(void*)> owner(composed, std::free);
  if (size == UTF8PROC_ERROR_NOMEM) {
    raise<OutOfMemory>("tokenizer: NFC of a line of ", valid.size(), " bytes needs memory; there is too little; ",
                       "split the text into lines");
  }
  MIXGRAD_ASSERT(size >= 0, "utf8proc composes every valid text");
  out.append(reinterpret_cast<const char*>(composed), static_cast<std::size_t>(size));
}

// Line by line: a line feed combines with nothing, before it or behind it.
std::string composed(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t line_feed = text.find('\n', at);
    const std::size_t line_end = line_feed == std::string_view::npos ? text.size() : line_feed + 1;
    const std::string_view line = text.substr(at, line_end - at);
    std::size_t valid = 0;
    while (valid < line.size() && next_code_point(line, valid) >= 0) {
    }
    append_composed(line.substr(0, valid), out);
    at += valid;
    if (valid < line.size()) out += text[at++];  // a byte that is no character
  }
  return out;
}

// Calls visit(view of the result); returns false when it would be the text itself.
struct Apply {
  std::string_view text;
  std::string& result;

  bool operator()(const PrependNormalizer& prepend) const {
    if (text.empty() || prepend.text.empty()) return false;
    result = prepend.text;
    result += text;
    return true;
  }
  bool operator()(const ReplaceNormalizer& replace) const {
    if (text.find(replace.pattern) == std::string_view::npos) return false;
    result = replaced(text, replace.pattern, replace.content);
    return true;
  }
  bool operator()(const NfcNormalizer&) const {
    if (is_surely_composed(text)) return false;
    result = composed(text);
    return true;
  }
};

struct Grow {
  Growth& growth;
  void operator()(const PrependNormalizer& prepend) const { growth.bytes += prepend.text.size(); }
  void operator()(const ReplaceNormalizer& replace) const {
    scale((replace.content.size() + replace.pattern.size() - 1) / replace.pattern.size());
  }
  void operator()(const NfcNormalizer&) const { scale(3); }  // the most that a character grows by, U+1D160
  void scale(std::size_t factor) const {
    growth.factor *= std::max<std::size_t>(factor, 1);
    growth.bytes *= std::max<std::size_t>(factor, 1);
  }
};

}  // namespace

std::string replaced(std::string_view text, std::string_view pattern, std::string_view content) {
  MIXGRAD_ASSERT(!pattern.empty(), "a pattern that is replaced is not empty");
  std::string out;
  out.reserve(text.size());
  std::size_t begin = 0;
  for (std::size_t at = 0; (at = text.find(pattern, begin)) != std::string_view::npos; begin = at + pattern.size()) {
    out += text.substr(begin, at - begin);
    out += content;
  }
  return out += text.substr(begin);
}

std::string_view normalize(const std::vector<Normalizer>& normalizers, std::string_view text, std::string& scratch) {
  std::string_view now = text;
  for (const Normalizer& normalizer : normalizers) {
    std::string result;
    if (!std::visit(Apply{now, result}, normalizer)) continue;
    scratch = std::move(result);
    now = scratch;
  }
  return now;
}

Growth growth(const std::vector<Normalizer>& normalizers) {
  Growth result;
  for (const Normalizer& normalizer : normalizers) std::visit(Grow{result}, normalizer);
  return result;
}

}  // namespace mixgrad
