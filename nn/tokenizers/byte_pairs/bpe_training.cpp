#include "nn/tokenizers/byte_pairs/bpe_training.h"

#include <algorithm>
#include <queue>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>

#include "core/error.h"
#include "core/parallel.h"
#include "core/system/interrupt.h"

namespace mixgrad {
namespace {

using WordCounts = std::unordered_map<std::string_view, std::int64_t>;

// How often each word occurs, in ascending order of the words. Blocks are cut by the text alone.
std::vector<std::pair<std::string_view, std::int64_t>> count_words(const TokenizerInput& input, SplitPattern pattern) {
  constexpr std::size_t kBlockBytes = std::size_t{1} << 20U;
  const std::string_view text = input.text;
  WordCounts counts;
  for (std::size_t begin = 0; begin < text.size();) {
    check_interrupt();
    std::vector<std::string_view> blocks;
    while (blocks.size() < 4 * static_cast<std::size_t>(threads()) && begin < text.size()) {
      const std::size_t end = next_word_boundary(text, std::min(begin + kBlockBytes, text.size()));
      blocks.push_back(text.substr(begin, end - begin));
      begin = end;
    }
    std::vector<WordCounts> parts(blocks.size());
    parallel_for(static_cast<std::int64_t>(blocks.size()), [&](std::int64_t i) {
      WordCounts& part = parts[static_cast<std::size_t>(i)];
      WordSplitter(pattern).split(blocks[static_cast<std::size_t>(i)], [&](std::string_view word) {
        for (std::size_t at = 0; at < word.size(); at += kLongestBpeToken) ++part[word.substr(at, kLongestBpeToken)];
      });
    });
    for (const WordCounts& part : parts) {
      for (const auto& [word, count] : part) counts[word] += count;
    }
    input.read(begin);
  }
  std::vector<std::pair<std::string_view, std::int64_t>> sorted(counts.begin(), counts.end());
  std::sort(sorted.begin(), sorted.end());
  return sorted;
}

class BpeLearner {
 public:
  explicit BpeLearner(const std::vector<std::pair<std::string_view, std::int64_t>>& counts) {
    for (const auto& [text, count] : counts) {
      Word word{.count = count, .begin = symbols_.size(), .size = static_cast<std::uint32_t>(text.size())};
      for (const char byte : text) symbols_.push_back(static_cast<unsigned char>(byte));
      words_.push_back(word);
    }
    for (std::int32_t byte = 0; byte < 256; ++byte) add_piece(std::string(1, static_cast<char>(byte)));
    for (std::uint32_t w = 0; w < words_.size(); ++w) {
      count_pairs(w, +1);
      for_each_pair(w, [&](std::uint64_t pair) { note_word(pairs_[pair], w); });
    }
    for (const auto& [pair, info] : pairs_) push(pair, info.count);
  }

  // The next merge; nothing when no pair occurs twice.
  bool merge_next(BpePair& merged) {
    while (!heap_.empty()) {
      const Entry top = heap_.top();
      heap_.pop();
      Pair& info = pairs_[top.pair];
      if (info.count != top.count) {  // it has been counted anew since
        push(top.pair, info.count);
        continue;
      }
      const BpePair pair = ids_of(top.pair);
      if (!add_piece(piece_of(pair.first) + piece_of(pair.second))) continue;  // these bytes are a token already
      const std::vector<std::uint32_t> words = std::move(info.words);          // no word has the pair any more
      apply(pair, static_cast<std::int32_t>(pieces_.size()) - 1, words);
      merged = pair;
      return true;
    }
    return false;
  }

 private:
  struct Word {
    std::int64_t count;
    std::size_t begin;  // in symbols_
    std::uint32_t size;
  };
  struct Pair {
    std::int64_t count = 0;
    std::vector<std::uint32_t> words;  // where it occurs, or did; ascending
  };
  struct Entry {
    std::int64_t count;
    std::uint64_t pair;
    friend bool operator<(const Entry& a, const Entry& b) {
      return a.count != b.count ? a.count < b.count : a.pair > b.pair;
    }
  };

  static std::uint64_t key_of(std::int32_t left, std::int32_t right) {
    return static_cast<std::uint64_t>(left) << 32U | static_cast<std::uint32_t>(right);
  }
  static BpePair ids_of(std::uint64_t key) {
    return {static_cast<std::int32_t>(key >> 32U), static_cast<std::int32_t>(key & 0xffffffffU)};
  }
  const std::string& piece_of(std::int32_t id) const { return pieces_[static_cast<std::size_t>(id)]; }
  bool add_piece(const std::string& piece) {
    if (!known_pieces_.insert(piece).second) return false;
    pieces_.push_back(piece);
    return true;
  }
  void push(std::uint64_t pair, std::int64_t count) {
    if (count >= 2) heap_.push({count, pair});
  }
  static void note_word(Pair& pair, std::uint32_t word) {
    if (pair.words.empty() || pair.words.back() != word) pair.words.push_back(word);
  }

  template <class Visit>
  void for_each_pair(std::uint32_t w, const Visit& visit) {
    const Word& word = words_[w];
    for (std::size_t i = word.begin; i + 1 < word.begin + word.size; ++i) visit(key_of(symbols_[i], symbols_[i + 1]));
  }
  void count_pairs(std::uint32_t w, std::int64_t sign) {
    const std::int64_t count = sign * words_[w].count;
    for_each_pair(w, [&](std::uint64_t pair) { pairs_[pair].count += count; });
  }

  // Replaces the pair from left to right in every word that has it.
  void apply(BpePair pair, std::int32_t id, const std::vector<std::uint32_t>& words) {
    std::unordered_set<std::uint64_t> fresh;  // pairs with the new token
    for (const std::uint32_t w : words) {
      Word& word = words_[w];
      std::int32_t* symbols = symbols_.data() + word.begin;
      std::uint32_t first = 0;
      while (first + 1 < word.size && (symbols[first] != pair.first || symbols[first + 1] != pair.second)) ++first;
      if (first + 1 >= word.size) continue;
      count_pairs(w, -1);
      std::uint32_t size = first;
      for (std::uint32_t i = first; i < word.size; ++i) {
        const bool found = i + 1 < word.size && symbols[i] == pair.first && symbols[i + 1] == pair.second;
        symbols[size++] = found ? id : symbols[i];
        if (found) ++i;
      }
      word.size = size;
      count_pairs(w, +1);
      for (std::uint32_t i = 0; i + 1 < size; ++i) {
        if (symbols[i] != id && symbols[i + 1] != id) continue;
        const std::uint64_t key = key_of(symbols[i], symbols[i + 1]);
        note_word(pairs_[key], w);
        fresh.insert(key);
      }
    }
    for (const std::uint64_t key : fresh) push(key, pairs_[key].count);
  }

  std::vector<std::int32_t> symbols_;  // of all words, each in its own stretch, which shrinks
  std::vector<Word> words_;
  std::unordered_map<std::uint64_t, Pair> pairs_;
  std::priority_queue<Entry> heap_;  // counts that may have fallen since
  std::vector<std::string> pieces_;  // the bytes of each token
  std::unordered_set<std::string> known_pieces_;
};

}  // namespace

std::vector<BpePair> learn_bpe_merges(const TokenizerInput& input, SplitPattern pattern, std::int64_t tokens) {
  BpeLearner learner(count_words(input, pattern));
  std::vector<BpePair> merges;
  while (static_cast<std::int64_t>(merges.size()) + 256 < tokens) {
    if (merges.size() % 64 == 0) check_interrupt();
    BpePair merged;
    if (!learner.merge_next(merged)) {
      const std::size_t most = merges.size() + 256;
      raise<FormatError>(
          input.source, ": bpe:", tokens, " needs a text in which as many pairs of tokens occur twice; ", "after ",
          most, " tokens no pair does; give a longer text or --tokenizer bpe:", std::max<std::size_t>(most, 257));
    }
    merges.push_back(merged);
  }
  return merges;
}

}  // namespace mixgrad
