// llama2.c's tokenizer.bin against llama2.c's own algorithm in plain loops; what is refused.
#include "nn/tokenizers/llama2c_tokenizer.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <limits>

#include "core/error.h"
#include "core/rng.h"
#include "nn/tokenizers/tokenizer_files.h"
#include "nn/tokenizers/tokenizer_types.h"
#include "tests/support/temp_folder.h"
#include "tests/support/text.h"

namespace mixgrad {
namespace {

using test::error_of;
using test::has;
using test::TempFolder;
using Ids = std::vector<std::int32_t>;

struct Word {
  std::string bytes;
  float score;
};

std::vector<Word> first_pieces() {
  std::vector<Word> words{{"<unk>", 0}, {"\n<s>\n", 0}, {"\n</s>\n", 0}};
  for (int byte = 0; byte < 256; ++byte) {
    char name[8];
    std::snprintf(name, sizeof name, "<0x%02X>", static_cast<unsigned>(byte));
    words.push_back({name, 0});
  }
  return words;
}

template <class Number>
void append(std::string& file, Number value) {
  char bytes[sizeof value];
  std::memcpy(bytes, &value, sizeof value);
  file.append(bytes, sizeof value);
}

std::string file_of(const std::vector<Word>& words) {
  std::size_t longest = 0;
  for (const Word& word : words) longest = std::max(longest, word.bytes.size());
  std::string file;
  append(file, static_cast<std::int32_t>(longest));
  for (const Word& word : words) {
    append(file, word.score);
    append(file, static_cast<std::int32_t>(word.bytes.size()));
    file += word.bytes;
  }
  return file;
}

// Letters, a space, an é, and what pairs of them become; several pairs make the same piece, some scores are equal.
std::vector<Word> few_words() {
  std::vector<Word> words = first_pieces();
  const char* pieces[] = {" ", "a", "b", "c", "é", "ab", "bc", "abc", " a", "aa", "aaa", "bé", " ab", "ca"};
  const float scores[] = {-20, -21, -22, -23, -24, -3, -2, -1, -4, -5, -5, -6, -2, -1e11F};
  for (std::size_t i = 0; i < std::size(pieces); ++i) words.push_back({pieces[i], scores[i]});
  return words;
}

// Characters become their piece or bytes; then the pair with the best score merges, the leftmost of equal ones.
Ids encoded_in_plain_loops(const std::vector<Word>& words, const std::string& text) {
  const auto find = [&](const std::string& bytes) {
    for (std::size_t id = 259; id < words.size(); ++id) {
      if (words[id].bytes == bytes) return static_cast<std::int32_t>(id);
    }
    return -1;
  };
  Ids ids;
  if (!text.empty()) ids.push_back(find(" "));
  for (std::size_t at = 0; at < text.size();) {
    std::size_t end = at + 1;
    while (end < text.size() && end - at < 4 && (static_cast<unsigned char>(text[end]) & 0xc0U) == 0x80U) ++end;
    const std::string character = text.substr(at, end - at);
    if (find(character) >= 0) {
      ids.push_back(find(character));
    } else {
      for (const char byte : character) ids.push_back(static_cast<unsigned char>(byte) + 3);
    }
    at = end;
  }
  for (;;) {
    float best_score = -1e10F;
    std::size_t best = ids.size();
    std::int32_t best_id = -1;
    for (std::size_t i = 0; i + 1 < ids.size(); ++i) {
      const auto piece = [&](std::size_t at) { return words[static_cast<std::size_t>(ids[at])].bytes; };
      const std::int32_t id = find(piece(i) + piece(i + 1));
      if (id < 0 || words[static_cast<std::size_t>(id)].score <= best_score) continue;
      best_score = words[static_cast<std::size_t>(id)].score;
      best = i;
      best_id = id;
    }
    if (best_id < 0) return ids;
    ids[best] = best_id;
    ids.erase(ids.begin() + static_cast<std::ptrdiff_t>(best) + 1);
  }
}

TEST_CASE("llama2.c: the ids of its own algorithm, and any bytes come back") {
  const std::vector<Word> words = few_words();
  const TokenizerPtr tokenizer = read_llama2c(file_of(words), "t.bin");
  CHECK(tokenizer->encode("ab").size() == 1);
  CHECK(tokenizer->encode("").empty());
  Rng rng(9);
  const std::string parts[] = {"a", "b", "c", "a", " ", "é", "\xff", "\x80", "x", "<0x41>", std::string(1, '\0'), "漢"};
  for (int round = 0; round < 500; ++round) {
    std::string text;
    for (std::uint64_t i = rng.below(25); i > 0; --i) text += parts[rng.below(std::size(parts))];
    const Ids ids = tokenizer->encode(text);
    CHECK(ids == encoded_in_plain_loops(words, text));
    CHECK(ids.size() <= tokenizer->max_tokens(text));
    CHECK(tokenizer->decode(ids) == text);
  }
}

TEST_CASE("llama2.c: a long text is handed on in parts that do not change it") {
  const TokenizerPtr tokenizer = read_llama2c(file_of(few_words()), "t.bin");
  std::string text;
  for (int i = 0; i < 20'000; ++i) text += i % 7 == 0 ? " abé" : "caabx";
  std::size_t last = 0;
  int parts = 0;
  Ids ids;
  tokenizer->encode_into(text, "t", [&](std::span<const std::int32_t> part, std::size_t done) {
    CHECK_FALSE(part.empty());
    CHECK(done > last);
    last = done;
    ++parts;
    ids.insert(ids.end(), part.begin(), part.end());
  });
  CHECK(last == text.size());
  CHECK(parts > 3);
  CHECK(tokenizer->decode(ids) == text);
}

TEST_CASE("llama2.c: pieces, special tokens, stored form") {
  const TokenizerPtr tokenizer = read_llama2c(file_of(few_words()), "t.bin");
  CHECK(tokenizer->vocab_size() == 273);
  CHECK(tokenizer->special_tokens().start == 1);
  CHECK(tokenizer->special_tokens().end == 2);
  CHECK(tokenizer->piece(3 + 'A') == "A");
  CHECK(tokenizer->piece(1) == "\n<s>\n");
  CHECK(tokenizer->id_of("a") == 260);
  CHECK(tokenizer->id_of("A") == 3 + 'A');
  CHECK(tokenizer->id_of("\n<s>\n") == 1);
  CHECK_FALSE(tokenizer->id_of("zz").has_value());
  CHECK(*load_tokenizer(tokenizer->to_json(), "t") == *tokenizer);
  std::vector<Word> odd = few_words();
  odd.push_back({"\xff\x80", 0.1F});  // not UTF-8
  const TokenizerPtr stored = read_llama2c(file_of(odd), "t.bin");
  CHECK(has(stored->to_json(), "bytes:%FF%80"));
  CHECK(*load_tokenizer(stored->to_json(), "t") == *stored);
}

TEST_CASE("llama2.c: files that are cut off or lie are refused") {
  const auto refused = [](const std::string& file) {
    return error_of<FormatError>([&] { read_llama2c(file, "t.bin"); });
  };
  const std::string whole = file_of(few_words());
  CHECK(refused(whole.substr(0, whole.size() - 1)) ==
        "t.bin: piece 272 must have a score, a length and its bytes; the file ends within it, after " +
            std::to_string(whole.size() - 1) + " bytes; it was cut off: take a whole copy");
  CHECK(has(refused(whole.substr(0, whole.size() - 9)), "piece 272 must have a score, a length and its bytes"));
  CHECK(has(refused(""), "the length of the longest piece is required in the first 4 bytes; the file has 0"));
  CHECK(has(refused(whole.substr(0, 4)), "more than 259 pieces are required; there are 0"));
  std::string lies = whole;
  lies[8] = 127;
  CHECK(has(refused(lies), "piece 0 must have 1 to 6 bytes, the longest piece by the start of the file; it says 127"));
  lies[8] = 0;
  CHECK(has(refused(lies), "it says 0"));
  std::vector<Word> words = few_words();
  words[3].bytes = "<0x01>";
  CHECK(has(refused(file_of(words)), "piece 3 must be <0x00>; found \"<0x01>\""));
  words = few_words();
  words[260].score = std::numeric_limits<float>::quiet_NaN();
  CHECK(has(refused(file_of(words)), "the score of every piece must be finite; that of piece 260 is"));
  words = few_words();
  words[259].bytes = "_";
  CHECK(has(refused(file_of(words)), "a piece for a single space is required"));
  const auto json = [](const std::string& text) {
    return error_of<FormatError>([&] { load_tokenizer(text, "tokenizer.json"); });
  };
  CHECK(has(json(R"({"type":"llama2c","pieces":[["a"]]})"), "pieces[0] must be a piece and its score"));
  CHECK(has(json(R"({"type":"llama2c","pieces":[["a","b"]]})"), "pieces[0][1] must be a number"));
  CHECK(has(json(R"({"type":"llama2c","pieces":[]})"), "more than 259 pieces are required"));
}

TEST_CASE("llama2.c: the file is known by its beginning") {
  const TempFolder folder;
  CHECK(open_tokenizer(folder.put("tokenizer.bin", file_of(few_words())))->vocab_size() == 273);
  CHECK_FALSE(begins_llama2c("short"));
  CHECK_FALSE(begins_llama2c("a text that is no tokenizer"));
}

}  // namespace
}  // namespace mixgrad
