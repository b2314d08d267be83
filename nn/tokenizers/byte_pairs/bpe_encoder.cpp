#include "nn/tokenizers/byte_pairs/bpe_encoder.h"

#include <algorithm>
#include <cstdio>
#include <functional>
#include <utility>

#include "core/error.h"
#include "core/text/utf8.h"

namespace mixgrad {

BpeModel::BpeModel() {
  of_byte.fill(-1);
  of_fallback_byte.fill(-1);
}

std::pair<std::string_view, std::int32_t> BpeModel::next_symbol(std::string_view word, std::size_t& position) const {
  const std::size_t begin = position;
  const auto first = static_cast<unsigned char>(word[begin]);
  if (symbols == Symbols::bytes || first < 0x80) {
    ++position;
    return {word.substr(begin, 1), of_byte[first]};
  }
  const std::int32_t code = next_code_point(word, position);
  if (code < 0) {  // a byte that is no character
    ++position;
    return {word.substr(begin, 1), -1};
  }
  const auto found = of_character.find(static_cast<char32_t>(code));
  return {word.substr(begin, position - begin), found == of_character.end() ? -1 : found->second};
}

bool BpeModel::has_fallback_bytes(std::string_view character) const {
  return std::all_of(character.begin(), character.end(),
                     [&](char byte) { return of_fallback_byte[static_cast<unsigned char>(byte)] >= 0; });
}

bool BpeModel::has_characters(std::string_view text) const {
  for (std::size_t at = 0; at < text.size();) {
    const auto [bytes, id] = next_symbol(text, at);
    if (id < 0 && !has_fallback_bytes(bytes)) return false;
  }
  return true;
}

void raise_no_such_symbol(const NoSuchSymbol& symbol, std::string_view text, const std::string& source) {
  std::size_t offset = 0;
  const std::int32_t code = next_code_point(symbol.bytes, offset);
  char byte[16];
  std::snprintf(byte, sizeof byte, "byte 0x%02x", static_cast<unsigned>(static_cast<unsigned char>(symbol.bytes[0])));
  const std::string shown = code < 0 ? byte : show_code_point(static_cast<char32_t>(code));
  const std::size_t at = text.find(symbol.bytes);
  std::string where;
  if (at != std::string_view::npos) {
    const auto lines = std::count(text.begin(), text.begin() + static_cast<std::ptrdiff_t>(at), '\n');
    where = " at byte " + std::to_string(at) + " (line " + std::to_string(lines + 1) + ")";
  }
  raise<ValueError>(source,
                    ": every character must be in the tokenizer's vocabulary, which has no unknown token; found ",
                    shown, where, "; leave it out, or take a tokenizer that has it");
}

std::optional<std::span<const std::int32_t>> WordCache::find(std::string_view word) const {
  if (entries_.empty() || word.size() > kLongestWord) return std::nullopt;
  const std::size_t hash = std::hash<std::string_view>()(word);
  const std::size_t mask = entries_.size() - 1;
  for (std::size_t at = hash & mask;; at = (at + 1) & mask) {
    const Entry& entry = entries_[at];
    if (entry.id_count == 0) return std::nullopt;
    if (entry.hash == hash && std::string_view(words_).substr(entry.word, entry.word_size) == word) {
      return std::span(ids_).subspan(entry.ids, entry.id_count);
    }
  }
}

void WordCache::grow() {
  constexpr std::size_t kFirstSlots = 64;
  std::vector<Entry> old = std::exchange(entries_, {});
  entries_.resize(std::max(kFirstSlots, 2 * old.size()));
  const std::size_t mask = entries_.size() - 1;
  for (const Entry& entry : old) {
    if (entry.id_count == 0) continue;
    std::size_t at = entry.hash & mask;
    while (entries_[at].id_count != 0) at = (at + 1) & mask;
    entries_[at] = entry;
  }
}

void WordCache::add(std::string_view word, std::span<const std::int32_t> ids) {
  if (2 * size_ >= kMostSlots || word.size() > kLongestWord || ids.empty()) return;
  if (2 * size_ >= entries_.size()) grow();
  const std::size_t mask = entries_.size() - 1;
  const std::size_t hash = std::hash<std::string_view>()(word);
  std::size_t at = hash & mask;
  while (entries_[at].id_count != 0) at = (at + 1) & mask;
  entries_[at] = {hash, static_cast<std::uint32_t>(words_.size()), static_cast<std::uint32_t>(word.size()),
                  static_cast<std::uint32_t>(ids_.size()), static_cast<std::uint32_t>(ids.size())};
  words_ += word;
  ids_.insert(ids_.end(), ids.begin(), ids.end());
  ++size_;
}

bool BpeEncoder::append_whole(std::string_view word, std::vector<std::int32_t>& ids) const {
  if (model_.whole_words.empty() || word.size() > model_.longest_whole_word) return false;
  const auto found = model_.whole_words.find(std::string(word));
  if (found == model_.whole_words.end()) return false;
  ids.push_back(found->second);
  return true;
}

bool BpeEncoder::append_known(const WordCache& cache, std::string_view word, std::vector<std::int32_t>& ids) {
  const auto known = cache.find(word);
  if (known) ids.insert(ids.end(), known->begin(), known->end());
  return known.has_value();
}

void BpeEncoder::finish(WordCache& cache, std::string_view word, std::vector<std::int32_t>& ids) {
  merger_.merge(symbols_);
  cache.add(word, symbols_);
  ids.insert(ids.end(), symbols_.begin(), symbols_.end());
}

void BpeEncoder::finish_part(std::vector<std::int32_t>& ids) {
  if (symbols_.size() < 2) {
    ids.insert(ids.end(), symbols_.begin(), symbols_.end());
    return;
  }
  const std::string key(reinterpret_cast<const char*>(symbols_.data()), symbols_.size() * sizeof(std::int32_t));
  if (!append_known(parts_, key, ids)) finish(parts_, key, ids);
}

}  // namespace mixgrad
