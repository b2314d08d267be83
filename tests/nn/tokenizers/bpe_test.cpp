// Byte-pair encoding: the merging against plain loops, the patterns, the learning, the type "bpe".
#include <doctest/doctest.h>

#include <algorithm>
#include <csignal>
#include <map>
#include <thread>

#include "core/error.h"
#include "core/rng.h"
#include "core/system/interrupt.h"
#include "nn/tokenizers/bpe_tokenizer.h"
#include "nn/tokenizers/byte_pairs/batch_encoder.h"
#include "nn/tokenizers/byte_pairs/bpe_encoder.h"
#include "nn/tokenizers/tokenizer_types.h"
#include "tests/support/close.h"
#include "tests/support/temp_folder.h"
#include "tests/support/text.h"

namespace mixgrad {
namespace {

using test::error_of;
using test::has;
using test::Threads;
using Ids = std::vector<std::int32_t>;

// Again and again the pair of the lowest rank, the leftmost of equal ones.
Ids merged_in_plain_loops(const BpeMerges& merges, Ids word) {
  for (;;) {
    std::size_t best = word.size();
    for (std::size_t i = 0; i + 1 < word.size(); ++i) {
      const BpeMerge* merge = merges.find(word[i], word[i + 1]);
      if (merge == nullptr) continue;
      if (best == word.size() || merge->rank < merges.find(word[best], word[best + 1])->rank) best = i;
    }
    if (best == word.size()) return word;
    word[best] = merges.find(word[best], word[best + 1])->id;
    word.erase(word.begin() + static_cast<std::ptrdiff_t>(best) + 1);
  }
}

// Merges of random pairs; every token comes from one pair.
BpeMerges random_merges(Rng& rng, std::int32_t letters, std::int32_t count) {
  BpeMerges merges;
  for (std::int32_t i = 0; i < count; ++i) {
    const auto any = [&] { return static_cast<std::int32_t>(rng.below(static_cast<std::uint64_t>(letters + i))); };
    const std::int32_t left = any();
    const std::int32_t right = any();
    if (merges.find(left, right) == nullptr) {
      merges.set(left, right, {.rank = static_cast<std::uint32_t>(i / 2), .id = letters + i});
    }
  }
  return merges;
}

Ids random_word(Rng& rng, std::int32_t letters, std::uint64_t most) {
  Ids word(1 + rng.below(most));
  for (std::int32_t& symbol : word) symbol = static_cast<std::int32_t>(rng.below(static_cast<std::uint64_t>(letters)));
  return word;
}

std::string random_bytes(Rng& rng, std::size_t size) {
  std::string text(size, ' ');
  for (char& byte : text) byte = static_cast<char>(rng.below(256));
  return text;
}

TEST_CASE("bpe: merging with a heap gives what plain loops give, whole and cut where no merge crosses") {
  Rng rng(7);
  int cuts_made = 0;
  for (int round = 0; round < 300; ++round) {
    const BpeMerges merges = random_merges(rng, 4, 1 + static_cast<std::int32_t>(rng.below(20)));
    const BpeCuts cuts(merges);
    BpeMerger merger(merges);
    for (int i = 0; i < 10; ++i) {
      const Ids word = random_word(rng, 4, 40);
      const Ids expected = merged_in_plain_loops(merges, word);
      Ids whole = word;
      merger.merge(whole);
      CHECK(whole == expected);
      Ids joined;
      for (std::size_t begin = 0; begin < word.size();) {
        std::size_t end = begin + 1;
        while (end < word.size() && cuts.may_merge_across(word[end - 1], word[end])) ++end;
        cuts_made += end < word.size() ? 1 : 0;
        Ids part(word.begin() + static_cast<std::ptrdiff_t>(begin), word.begin() + static_cast<std::ptrdiff_t>(end));
        merger.merge(part);
        joined.insert(joined.end(), part.begin(), part.end());
        begin = end;
      }
      CHECK(joined == expected);
    }
  }
  CHECK(cuts_made > 1000);
}

TEST_CASE("bpe: merges of themselves, and of tokens with several origins, forbid all cuts") {
  BpeMerges ambiguous;
  ambiguous.set(0, 1, {.rank = 0, .id = 5});
  ambiguous.set(2, 3, {.rank = 1, .id = 5});
  CHECK(BpeCuts(ambiguous).may_merge_across(3, 3));
  BpeMerges circle;
  circle.set(0, 1, {.rank = 0, .id = 1});
  CHECK(BpeCuts(circle).may_merge_across(7, 7));
  BpeMerges plain;
  plain.set(0, 1, {.rank = 0, .id = 5});
  plain.set(5, 2, {.rank = 1, .id = 6});
  CHECK(BpeCuts(plain).may_merge_across(0, 1));
  CHECK(BpeCuts(plain).may_merge_across(1, 2));
  CHECK_FALSE(BpeCuts(plain).may_merge_across(2, 0));
}

std::vector<std::string> words_of(SplitPattern pattern, std::string_view text) {
  std::vector<std::string> words;
  WordSplitter(pattern).split(text, [&](std::string_view word) { words.emplace_back(word); });
  return words;
}

TEST_CASE("split patterns: the words of each") {
  using Words = std::vector<std::string>;
  CHECK(words_of(SplitPattern::gpt2, "It's  12345 o'clock\n\n x_y") ==
        Words{"It", "'s", " ", " 12345", " o", "'", "clock", "\n\n", " x", "_", "y"});
  CHECK(words_of(SplitPattern::llama3, "It'S  12345 (ok)\n\n x") ==
        Words{"It", "'S", " ", " ", "123", "45", " (", "ok", ")\n\n", " x"});
  CHECK(words_of(SplitPattern::qwen2, "a 12\r\n  b") == Words{"a", " ", "1", "2", "\r\n", " ", " b"});
  CHECK(words_of(SplitPattern::gpt2, "a\u3000\u00a0b") == Words{"a", "\u3000", "\u00a0", "b"});
  CHECK(words_of(SplitPattern::gpt2, "a\u180eb") == Words{"a", "\u180e", "b"});  // no blank since Unicode 6.3
  CHECK(words_of(SplitPattern::gpt2, "ab\xff\xfe\xc3 cd\xe2\x82") == Words{"ab", "\xff\xfe\xc3", " cd", "\xe2\x82"});
  CHECK(words_of(SplitPattern::gpt2, "").empty());
  CHECK(words_of(SplitPattern::qwen2, std::string(300'000, ' ')) == Words{std::string(300'000, ' ')});
  CHECK(words_of(SplitPattern::gpt2, std::string(300'000, 'a')).size() == 1);
}

TEST_CASE("split patterns: a text that is cut at a word boundary has the words of the whole") {
  Rng rng(3);
  const std::string pieces[] = {"a", "B9", " ", "  ", "\n", "'s", "é", "\xff", "_-", "\t", "7", "\u3000"};
  for (int round = 0; round < 2000; ++round) {
    std::string text;
    for (std::uint64_t i = rng.below(30); i > 0; --i) text += pieces[rng.below(std::size(pieces))];
    const std::size_t cut = next_word_boundary(text, rng.below(10));
    REQUIRE(cut <= text.size());
    for (const SplitPattern pattern : kSplitPatterns) {
      std::vector<std::string> parts = words_of(pattern, text.substr(0, cut));
      for (const std::string& word : words_of(pattern, text.substr(cut))) parts.push_back(word);
      CHECK(parts == words_of(pattern, text));
    }
  }
}

TEST_CASE("split patterns: the regular expressions lead back to the patterns") {
  for (const SplitPattern pattern : kSplitPatterns) {
    CHECK(split_pattern_of_regex(split_pattern_regex(pattern)) == pattern);
  }
  CHECK_FALSE(split_pattern_of_regex("\\s+").has_value());
}

// The same merges by counting every pair of every word anew each time.
std::vector<BpePair> learned_in_plain_loops(const std::string& text, std::size_t count) {
  std::vector<Ids> words;
  WordSplitter(SplitPattern::gpt2).split(text, [&](std::string_view word) {
    Ids& symbols = words.emplace_back();
    for (const char byte : word) symbols.push_back(static_cast<unsigned char>(byte));
  });
  std::vector<std::string> pieces;
  for (int byte = 0; byte < 256; ++byte) pieces.emplace_back(1, static_cast<char>(byte));
  std::vector<BpePair> merges;
  while (merges.size() < count) {
    std::map<BpePair, std::int64_t> counts;
    for (const Ids& word : words) {
      for (std::size_t i = 0; i + 1 < word.size(); ++i) ++counts[{word[i], word[i + 1]}];
    }
    const BpePair* best = nullptr;
    for (const auto& [pair, number] : counts) {
      const std::string piece =
          pieces[static_cast<std::size_t>(pair.first)] + pieces[static_cast<std::size_t>(pair.second)];
      if (std::find(pieces.begin(), pieces.end(), piece) != pieces.end()) continue;
      if (best == nullptr || number > counts[*best]) best = &pair;
    }
    const BpePair pair = *best;
    merges.push_back(pair);
    pieces.push_back(pieces[static_cast<std::size_t>(pair.first)] + pieces[static_cast<std::size_t>(pair.second)]);
    for (Ids& word : words) {
      for (std::size_t i = 0; i + 1 < word.size(); ++i) {
        if (word[i] != pair.first || word[i + 1] != pair.second) continue;
        word[i] = static_cast<std::int32_t>(pieces.size()) - 1;
        word.erase(word.begin() + static_cast<std::ptrdiff_t>(i) + 1);
      }
    }
  }
  return merges;
}

TEST_CASE("bpe: learns the merges that plain loops learn") {
  const std::string text =
      test::TempFolder::get(std::string(MIXGRAD_SOURCE_DIR) + "/data/tinyshakespeare.txt").substr(0, 6000);
  CHECK(learn_bpe_merges({.text = text}, SplitPattern::gpt2, 256 + 150) == learned_in_plain_loops(text, 150));
  const std::string repeated = "aaaa aaaaa aaa abababab aaaa baba babab aaaaaaa";
  request_interrupt(SIGTERM);  // before the first merge: the words of a large text take long to count
  CHECK_THROWS_AS(learn_bpe_merges({.text = text}, SplitPattern::gpt2, 256), Interrupted);
  clear_interrupt();
  CHECK(learn_bpe_merges({.text = repeated}, SplitPattern::gpt2, 261) == learned_in_plain_loops(repeated, 5));
}

TEST_CASE("bpe: the number of threads changes nothing") {
  std::string text = test::TempFolder::get(std::string(MIXGRAD_SOURCE_DIR) + "/data/tinyshakespeare.txt");
  text += text + "\xff\xfe" + text;  // several blocks
  const auto with = [&](int count) {
    const Threads scope(count);
    const TokenizerPtr tokenizer = make_tokenizer("bpe:600", {.text = text});
    return std::pair(tokenizer->to_json(), tokenizer->encode(text));
  };
  const auto one = with(1);
  CHECK(with(2) == one);
  CHECK(with(3) == one);
  CHECK(load_tokenizer(one.first, "t")->decode(one.second) == text);
}

TEST_CASE("bpe: any bytes come back, and ids are in range") {
  Rng rng(11);
  const std::string text = "the cat sat on the mat, the cat ate the rat\n";
  const TokenizerPtr tokenizer = make_tokenizer("bpe:270", {.text = text + text});
  CHECK(tokenizer->vocab_size() == 270);
  for (int round = 0; round < 300; ++round) {
    std::string any = random_bytes(rng, rng.below(200));
    any += text.substr(0, rng.below(text.size()));
    const Ids ids = tokenizer->encode(any);
    CHECK(ids.size() <= tokenizer->max_tokens(any));
    CHECK(std::all_of(ids.begin(), ids.end(), [](std::int32_t id) { return id >= 0 && id < 270; }));
    CHECK(tokenizer->decode(ids) == any);
  }
  const std::string large = random_bytes(rng, 3'000'000);
  CHECK(tokenizer->decode(tokenizer->encode(large)) == large);
  for (std::int32_t id = 0; id < 270; ++id) CHECK(tokenizer->id_of(tokenizer->piece(id)) == id);
}

TEST_CASE("bpe: a text too poor for so many tokens is refused with the number that it has") {
  CHECK(
      error_of<FormatError>([] { make_tokenizer("bpe:300", {.text = "abab", .source = "x.txt"}); }) ==
      "x.txt: bpe:300 needs a text in which as many pairs of tokens occur twice; after 257 tokens no pair does; give a "
      "longer text or --tokenizer bpe:257");
  CHECK(make_tokenizer("bpe:257", {.text = "abab"})->vocab_size() == 257);
  CHECK(has(error_of<FormatError>([] { make_tokenizer("bpe:300", {.text = ""}); }), "after 256 tokens no pair does"));
}

TEST_CASE("bpe: stored form, and what is refused") {
  const TokenizerPtr tokenizer = bpe_tokenizer(SplitPattern::gpt2, {{'a', 'b'}, {256, 'c'}});
  CHECK(tokenizer->to_json() == "{\"type\":\"bpe\",\"pattern\":\"gpt2\",\"merges\":[[97,98],[256,99]]}\n");
  CHECK(*load_tokenizer(tokenizer->to_json(), "t") == *tokenizer);
  CHECK(tokenizer->encode("abcab") == Ids{257, 256});
  CHECK(tokenizer->piece(257) == "abc");
  CHECK(tokenizer->byte_count(257) == 3);
  const auto refused = [](const std::string& rest) {
    return error_of<FormatError>([&] { load_tokenizer(R"({"type":"bpe",)" + rest, "tokenizer.json"); });
  };
  CHECK(has(refused(R"("pattern":"gpt3","merges":[]})"), "pattern must be one of gpt2, llama3, qwen2; found \"gpt3\""));
  CHECK(has(refused(R"("merges":[]})"), "the key pattern is required"));
  CHECK(has(refused(R"("pattern":"gpt2","merges":3})"), "merges must be an array"));
  CHECK(has(refused(R"("pattern":"gpt2","merges":[[1,2,3]]})"), "merges[0] must be a pair of ids"));
  CHECK(has(refused(R"("pattern":"gpt2","merges":[[1,-2]]})"), "merges[0][1] must be an integer from 0"));
  CHECK(has(refused(R"("pattern":"gpt2","merges":[[1,2],[1,257]]})"),
            "merges[1] must be a pair of ids from 0 to 256; found 257"));
  CHECK(has(refused(R"("pattern":"gpt2","merges":[[97,98],[97,98]]})"),
            "merges[1] must make a token that is not there yet; found \"ab\" again"));
  std::string doubling = R"("pattern":"gpt2","merges":[[0,0])";
  for (int i = 256; i < 265; ++i) doubling += ",[" + std::to_string(i) + "," + std::to_string(i) + "]";
  CHECK(has(refused(doubling + "]}"), "merges[8] must make a token of at most 256 bytes; it has 512"));
}

TEST_CASE("bpe: an error of one part comes out after the parts before it") {
  struct Failing : PartEncoder {
    void encode(std::string_view part, bool, std::vector<std::int32_t>& ids) override {
      if (part == "bad") raise<ValueError>("a bad part");
      ids.assign(5000, static_cast<std::int32_t>(part.size()));
    }
  };
  std::size_t seen = 0;
  const TokenSink sink = [&](std::span<const std::int32_t>, std::size_t done) { seen = done; };
  BatchEncoder batch([] { return std::make_unique<Failing>(); }, sink);
  batch.add_text("good", true, 4);
  batch.add_text("bad", false, 7);
  batch.add_text("good", false, 11);
  CHECK(error_of<ValueError>([&] { batch.finish(); }) == "a bad part");
  CHECK(seen == 4);
}

}  // namespace
}  // namespace mixgrad
