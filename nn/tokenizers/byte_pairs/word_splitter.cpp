// Words by the patterns of split_pattern.h, which PCRE2 matches.
#include "core/build.h"
#include "core/error.h"
#include "nn/tokenizers/byte_pairs/split_pattern.h"
#include "nn/tokenizers/text_libraries.h"

#if MIXGRAD_HAS_TEXT_LIBRARIES

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <limits>

namespace mixgrad {
namespace {

// What \s means in `tokenizers`: the code points with the property White_Space. PCRE2's own \s holds U+180E as well.
constexpr std::string_view kSpace =
    R"(\t-\r \x{85}\x{a0}\x{1680}\x{2000}-\x{200a}\x{2028}\x{2029}\x{202f}\x{205f}\x{3000})";

void replace_all(std::string& text, std::string_view from, std::string_view to) {
  for (std::size_t at = 0; (at = text.find(from, at)) != std::string::npos; at += to.size()) {
    text.replace(at, from.size(), to);
  }
}

std::string pcre_text(SplitPattern pattern) {
  const std::string space(kSpace);
  std::string text(split_pattern_regex(pattern));
  replace_all(text, R"([^\s)", "[^" + space);
  replace_all(text, R"((?!\S))", "(?![^" + space + "])");
  replace_all(text, R"(\s)", "[" + space + "]");
  return text;
}

struct FreeCode {
  void operator()(pcre2_code* code) const { pcre2_code_free(code); }
};
using Code = std::unique_ptr<pcre2_code, FreeCode>;

// Compiled once in a process; a match only reads it.
struct Compiled {
  Code code;
  bool jit = false;

  explicit Compiled(SplitPattern pattern) {
    const std::string text = pcre_text(pattern);
    int error = 0;
    PCRE2_SIZE offset = 0;
    code.reset(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(), PCRE2_UTF | PCRE2_ANCHORED, &error,
                             &offset, nullptr));
    MIXGRAD_ASSERT(code != nullptr, "PCRE2 compiles the patterns of split_pattern.cpp");
    jit = pcre2_jit_compile(code.get(), PCRE2_JIT_COMPLETE) == 0;
  }
};

const Compiled& compiled(SplitPattern pattern) {
  switch (pattern) {
    case SplitPattern::gpt2: {
      static const Compiled gpt2(SplitPattern::gpt2);
      return gpt2;
    }
    case SplitPattern::llama3: {
      static const Compiled llama3(SplitPattern::llama3);
      return llama3;
    }
    case SplitPattern::qwen2: {
      static const Compiled qwen2(SplitPattern::qwen2);
      return qwen2;
    }
  }
  MIXGRAD_ASSERT(false, "every pattern is compiled");
}

}  // namespace

struct WordSplitter::Match {
  struct FreeData {
    void operator()(pcre2_match_data* freed) const { pcre2_match_data_free(freed); }
  };
  struct FreeContext {
    void operator()(pcre2_match_context* freed) const { pcre2_match_context_free(freed); }
  };
  const pcre2_code* code;
  bool jit;
  std::unique_ptr<pcre2_match_data, FreeData> data;
  std::unique_ptr<pcre2_match_context, FreeContext> context;
};

WordSplitter::WordSplitter(SplitPattern pattern) : match_(std::make_unique<Match>()) {
  const Compiled& pattern_code = compiled(pattern);
  match_->code = pattern_code.code.get();
  match_->jit = pattern_code.jit;
  match_->data.reset(pcre2_match_data_create_from_pattern(match_->code, nullptr));
  match_->context.reset(pcre2_match_context_create(nullptr));
  if (match_->data == nullptr || match_->context == nullptr) {
    raise<OutOfMemory>("tokenizer: memory for matching a pattern is required; there is none; free some");
  }
  // A stretch of blanks of any length is one word.
  pcre2_set_match_limit(match_->context.get(), std::numeric_limits<std::uint32_t>::max());
  pcre2_set_depth_limit(match_->context.get(), std::numeric_limits<std::uint32_t>::max());
}

WordSplitter::~WordSplitter() = default;
WordSplitter::WordSplitter(WordSplitter&&) noexcept = default;
WordSplitter& WordSplitter::operator=(WordSplitter&&) noexcept = default;

std::size_t WordSplitter::word_end(std::string_view valid, std::size_t begin) {
  const auto* subject = reinterpret_cast<PCRE2_SPTR>(valid.data());
  const auto match = match_->jit ? pcre2_jit_match : pcre2_match;
  const int found =
      match(match_->code, subject, valid.size(), begin, PCRE2_NO_UTF_CHECK, match_->data.get(), match_->context.get());
  MIXGRAD_ASSERT(found > 0, "every pattern matches wherever a text is left");
  const std::size_t end = pcre2_get_ovector_pointer(match_->data.get())[1];
  MIXGRAD_ASSERT(end > begin, "a word is not empty");
  return end;
}

}  // namespace mixgrad

#else

namespace mixgrad {

struct WordSplitter::Match {};

WordSplitter::WordSplitter(SplitPattern) { raise_without_text_libraries("cutting a text into words"); }
WordSplitter::~WordSplitter() = default;
WordSplitter::WordSplitter(WordSplitter&&) noexcept = default;
WordSplitter& WordSplitter::operator=(WordSplitter&&) noexcept = default;

std::size_t WordSplitter::word_end(std::string_view, std::size_t) {
  MIXGRAD_ASSERT(false, "the constructor has thrown");
}

}  // namespace mixgrad

#endif
