// Words to ids by byte-pair encoding.
//
//   BpeEncoder encoder(model);                    // one for each thread; it remembers words that it has seen
//   encoder.encode(" the", ids);                  // appends to ids
//
// A word is cut into symbols (its bytes, or its characters), each of which is a token; then pairs merge (bpe_merges.h).
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "nn/tokenizers/byte_pairs/bpe_merges.h"

namespace mixgrad {

struct BpeModel {
  enum class Symbols : std::uint8_t { bytes, characters };

  BpeModel();

  // Whether each character of the text has a token, or each of its bytes.
  bool has_characters(std::string_view text) const;

  Symbols symbols = Symbols::bytes;
  BpeMerges merges;
  // The token of each symbol, -1 where the vocabulary has none: of every byte, or of every ASCII character and the
  // rest.
  std::array<std::int32_t, 256> of_byte;
  std::unordered_map<char32_t, std::int32_t> of_character;
  // What becomes of a character without a token: its bytes, where all of them have a token here; else `unknown`, one
  // for a stretch of such characters when they are fused; else it is an error.
  std::array<std::int32_t, 256> of_fallback_byte;
  std::optional<std::int32_t> unknown;
  bool fuse_unknown = false;
  // Words that are a token as they stand, without merging ("ignore_merges"); the longest has so many bytes.
  std::unordered_map<std::string, std::int32_t> whole_words;
  std::size_t longest_whole_word = 0;

  // The bytes of the character at `position` of the word, which is advanced past it, and its token, or -1.
  std::pair<std::string_view, std::int32_t> next_symbol(std::string_view word, std::size_t& position) const;
  bool has_fallback_bytes(std::string_view character) const;
};

// A part of a text that the vocabulary cannot express, and there is no unknown token. Caught by the tokenizer, which
// knows the text.
struct NoSuchSymbol {
  std::string bytes;  // of the character
};
// Raises the ValueError that names the character and its first place in the text.
[[noreturn]] void raise_no_such_symbol(const NoSuchSymbol& symbol, std::string_view text, const std::string& source);

// The ids of words that came before. Bounded; which words it holds changes no result.
class WordCache {
 public:
  std::optional<std::span<const std::int32_t>> find(std::string_view word) const;
  void add(std::string_view word, std::span<const std::int32_t> ids);  // drops it when the cache is full

 private:
  struct Entry {
    std::size_t hash = 0;
    std::uint32_t word = 0, word_size = 0, ids = 0, id_count = 0;  // where they begin; id_count 0 = an empty slot
  };
  static constexpr std::size_t kMostSlots = std::size_t{1} << 16U, kLongestWord = 64;
  void grow();
  std::vector<Entry> entries_;  // open addressing, at most half full; a power of two
  std::size_t size_ = 0;
  std::string words_;
  std::vector<std::int32_t> ids_;
};

class BpeEncoder {
 public:
  explicit BpeEncoder(const BpeModel& model) : model_(model), merger_(model.merges) {}

  // NoSuchSymbol is thrown as it is.
  void encode(std::string_view word, std::vector<std::int32_t>& ids) {
    if (append_whole(word, ids) || append_known(words_, word, ids)) return;
    take_symbols(word, [] {});
    finish(words_, word, ids);
  }

  // The same for a word of any length, such as a whole text: done(bytes) is called now and then with the number of
  // bytes of the word that are encoded so far, so that `ids` can be handed on.
  template <class Done>
  void encode_long(std::string_view word, const BpeCuts& cuts, std::vector<std::int32_t>& ids, const Done& done) {
    if (append_whole(word, ids)) return;
    take_symbols(word, [&] {
      const std::size_t last = symbols_.size() - 1;
      if (last == 0 || cuts.may_merge_across(symbols_[last - 1], symbols_[last])) return;
      const std::int32_t next = symbols_.back();
      symbols_.pop_back();
      finish_part(ids);
      done(begin_);
      symbols_.assign(1, next);
    });
    finish_part(ids);
  }

 private:
  bool append_whole(std::string_view word, std::vector<std::int32_t>& ids) const;
  static bool append_known(const WordCache& cache, std::string_view word, std::vector<std::int32_t>& ids);
  // Sets symbols_; after(), for each that was added, may take some away from the front.
  template <class After>
  void take_symbols(std::string_view word, const After& after);
  // Merges symbols_, remembers what `word` became and appends it.
  void finish(WordCache& cache, std::string_view word, std::vector<std::int32_t>& ids);
  void finish_part(std::vector<std::int32_t>& ids);
  const BpeModel& model_;
  BpeMerger merger_;
  WordCache words_;
  WordCache parts_;  // of long words, by the bytes of their symbols
  std::vector<std::int32_t> symbols_;
  std::size_t begin_ = 0, position_ = 0;  // of the character that is being read, and of the next one
};

// A character without a token does not end a stretch of unknown ones while its bytes have tokens: `tokenizers` does the
// same, so that the unknown token then stands behind those bytes.
template <class After>
void BpeEncoder::take_symbols(std::string_view word, const After& after) {
  symbols_.clear();
  bool unknown = false;  // seen, and not yet added
  const auto add = [&](std::int32_t id) {
    symbols_.push_back(id);
    after();
  };
  for (begin_ = position_ = 0; position_ < word.size();) {
    begin_ = position_;
    const auto [bytes, id] = model_.next_symbol(word, position_);
    if (id >= 0) {
      if (unknown) add(*model_.unknown);
      unknown = false;
      add(id);
    } else if (model_.has_fallback_bytes(bytes)) {
      for (const char byte : bytes) add(model_.of_fallback_byte[static_cast<unsigned char>(byte)]);
    } else if (!model_.unknown) {
      throw NoSuchSymbol{std::string(bytes)};
    } else {
      if (unknown && !model_.fuse_unknown) add(*model_.unknown);
      unknown = true;
    }
  }
  if (unknown) add(*model_.unknown);
}

}  // namespace mixgrad
