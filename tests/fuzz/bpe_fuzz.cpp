// Byte pairs learned from any bytes, and any bytes encoded by pairs that are known.
// Making the tables of a tokenizer, of 256 bytes and the merges, takes most of the time of learning from a short text.
// So the pairs of every text are learned and checked; every text is encoded by a tokenizer that was made once; and one
// in sixteen makes a tokenizer of its own, encodes itself with it, and is stored and read back. Texts are cut to 256
// bytes, enough for all eight merges.
#include "nn/tokenizers/bpe_tokenizer.h"

#include <algorithm>

#include "nn/tokenizers/tokenizer_types.h"
#include "tests/fuzz/fuzz.h"

namespace mixgrad {
namespace {

constexpr std::int64_t kTokens = 264;

// noexcept: a text too poor for so many pairs is a mistake of this file, not a refusal.
const Tokenizer& known_tokenizer() noexcept {
  constexpr std::string_view kText =
      "the cat sat on the mat, the hat in its hand; caf\u00e9 10 100 1000, it's\n\n\n"
      "the cat sat on the mat, the hat in its hand; caf\u00e9 10 100 1000, it's\n\n\n";
  static const TokenizerPtr known = make_tokenizer("bpe:280", {.text = kText, .source = "known"});
  return *known;
}

void check_text(const Tokenizer& tokenizer, std::string_view text) {
  const std::vector<std::int32_t> ids = tokenizer.encode(text);
  for (const std::int32_t id : ids) MIXGRAD_ASSERT(id >= 0 && id < tokenizer.vocab_size(), "ids in range");
  MIXGRAD_ASSERT(ids.size() <= text.size(), "a token is a byte or more");
  MIXGRAD_ASSERT(tokenizer.decode(ids) == text, "the text comes back");
}

void check_merges(const std::vector<BpePair>& merges) {
  MIXGRAD_ASSERT(static_cast<std::int64_t>(merges.size()) == kTokens - 256, "as many pairs as were asked for");
  for (std::size_t i = 0; i < merges.size(); ++i) {
    const auto id = static_cast<std::int32_t>(256 + i);
    const auto [left, right] = merges[i];
    MIXGRAD_ASSERT(left >= 0 && left < id && right >= 0 && right < id, "a pair of tokens that are there already");
    MIXGRAD_ASSERT(std::count(merges.begin(), merges.end(), merges[i]) == 1, "a pair is learned once");
  }
}

}  // namespace

void fuzz_one(std::string_view all) {
  constexpr std::size_t kMostBytes = 256, kOwnTokenizer = 16;
  const std::string_view text = all.substr(0, kMostBytes);
  check_text(known_tokenizer(), text);
  const std::vector<BpePair> merges = learn_bpe_merges({.text = text, .source = "fuzz"}, SplitPattern::gpt2, kTokens);
  check_merges(merges);
  if (all.size() % kOwnTokenizer != 0) return;
  const TokenizerPtr tokenizer = bpe_tokenizer(SplitPattern::gpt2, merges);
  check_text(*tokenizer, text);
  MIXGRAD_ASSERT(*load_tokenizer(tokenizer->to_json(), "again") == *tokenizer, "a tokenizer is read back as it was");
}

}  // namespace mixgrad
