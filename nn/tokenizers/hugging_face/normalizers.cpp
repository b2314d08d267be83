#include "nn/tokenizers/hugging_face/normalizers.h"

#include <algorithm>
#include <cstdlib>
#include <memory>

#include "core/build.h"
#include "core/error.h"
#include "core/text/utf8.h"
#include "nn/tokenizers/text_libraries.h"

#if MIXGRAD_HAS_TEXT_LIBRARIES
#include <utf8proc.h>
#endif

namespace mixgrad {
namespace {

// Below U+0300 every character is composed, and none combines with the one before it.
bool is_surely_composed(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return static_cast<unsigned char>(c) < 0xcc; });
}

// Marks and one vowel sign that are younger than the tables of `tokenizers`, which has no rule for them: they are
// neither sorted nor composed there, and what stands behind them is not composed with what stands before. The same
// here, so that the ids are the same.
bool is_without_rule(std::int32_t code) {
  struct Range {
    std::int32_t first, last;
  };
  static constexpr Range kRanges[] = {
      {0x07fd, 0x07fd},   {0x0898, 0x089f},   {0x08ca, 0x08d3},   {0x09fe, 0x09fe},   {0x0c3c, 0x0c3c},
      {0x0d3b, 0x0d3c},   {0x0eba, 0x0eba},   {0x1715, 0x1715},   {0x1abf, 0x1ace},   {0x1df6, 0x1dfa},
      {0xa82c, 0xa82c},   {0x10d24, 0x10d27}, {0x10eab, 0x10eac}, {0x10f46, 0x10f50}, {0x10f82, 0x10f85},
      {0x11070, 0x11070}, {0x1133b, 0x1133b}, {0x1145e, 0x1145e}, {0x11839, 0x1183a}, {0x11930, 0x11930},
      {0x1193d, 0x1193e}, {0x11943, 0x11943}, {0x119e0, 0x119e0}, {0x11a34, 0x11a34}, {0x11a47, 0x11a47},
      {0x11a99, 0x11a99}, {0x11d42, 0x11d42}, {0x11d44, 0x11d45}, {0x11d97, 0x11d97}, {0x16ff0, 0x16ff1},
      {0x1e130, 0x1e136}, {0x1e2ae, 0x1e2ae}, {0x1e2ec, 0x1e2ef}};
  if (code < kRanges[0].first) return false;
  return std::any_of(std::begin(kRanges), std::end(kRanges),
                     [code](const Range& range) { return code >= range.first && code <= range.last; });
}

void append_composed(std::string_view valid, std::string& out) {
  if (is_surely_composed(valid)) {
    out += valid;
    return;
  }
#if MIXGRAD_HAS_TEXT_LIBRARIES
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
#else
  raise_without_text_libraries("the normalisation NFC");
#endif
}

// Line by line: a line feed combines with nothing, before it or behind it.
std::string composed(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t line_feed = text.find('\n', at);
    const std::size_t line_end = line_feed == std::string_view::npos ? text.size() : line_feed + 1;
    const std::string_view line = text.substr(at, line_end - at);
    std::size_t valid = 0;  // bytes up to a character without rule, or to a byte that is no character
    std::size_t end = 0;
    for (std::int32_t code = 0; end < line.size(); valid = end) {
      code = next_code_point(line, end);
      if (code < 0 || is_without_rule(code)) break;
    }
    append_composed(line.substr(0, valid), out);
    if (valid < line.size()) end = std::max(end, valid + 1);
    out += line.substr(valid, end - valid);
    at += end;
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
