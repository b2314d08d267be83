// Tokenizers in the form of other programs: what is read back gives the same ids and the same text.
#include "nn/exchange/tokenizer_export.h"

#include <doctest/doctest.h>

#include <cstdio>
#include <nlohmann/json.hpp>

#include "nn/tokenizers/ids_tokenizer.h"
#include "nn/tokenizers/llama2c_tokenizer.h"
#include "nn/tokenizers/tokenizer_types.h"
#include "tests/support/outside_data.h"
#include "tests/support/temp_folder.h"
#include "tests/support/text.h"

namespace mixgrad {
namespace {

using test::has;

void check_same(const Tokenizer& ours, const std::string& text) {
  const ExpressedTokenizer expressed = hugging_face_form(ours);
  REQUIRE_FALSE(expressed.content.empty());
  const TokenizerPtr theirs = load_tokenizer(expressed.content, "exported");
  CHECK(theirs->vocab_size() == ours.vocab_size());
  const std::vector<std::int32_t> ids = ours.encode(text);
  CHECK(theirs->encode(text) == ids);
  CHECK(theirs->decode(ids) == text);
  CHECK(ours.special_tokens().start == theirs->special_tokens().start);
  CHECK(ours.special_tokens().end == theirs->special_tokens().end);
}

const std::string kSample = "It's 10 o'clock.\n\n  \xc3\xa9t\xc3\xa9 \xf0\x9f\x98\x80 ab abab\tend ";

// 259 first pieces, a space, letters, and a few longer pieces; scores fall with the id, as SentencePiece's do.
std::string llama2c_file() {
  std::string content(4, '\0');
  content[0] = 6;
  int id = 0;
  const auto add = [&](const std::string& piece) {
    const float score = id < 259 ? 0.0F : static_cast<float>(259 - id);
    const auto size = static_cast<std::int32_t>(piece.size());
    content.append(reinterpret_cast<const char*>(&score), 4);
    content.append(reinterpret_cast<const char*>(&size), 4);
    content += piece;
    ++id;
  };
  for (const char* piece : {"<unk>", "\n<s>\n", "\n</s>\n"}) add(piece);
  for (unsigned byte = 0; byte < 256; ++byte) {
    char name[8];
    std::snprintf(name, sizeof name, "<0x%02X>", byte);
    add(name);
  }
  for (const char* piece : {" a", "ab", " ab", "en", "end", "10", " t", "lock", "ock", "ck"}) add(piece);
  for (const char letter : std::string(" abcdeklnot10.'I")) add(std::string(1, letter));
  return content;
}

TEST_CASE("exported tokenizers: char, byte, bpe and llama2c give the same ids") {
  std::string text;
  for (int copy = 0; copy < 3; ++copy) text += kSample;
  for (const char* name : {"char", "byte", "bpe:280"}) {
    INFO(name);
    check_same(*make_tokenizer(name, {.text = text, .source = "sample"}), kSample);
  }
  const TokenizerPtr llama2c = read_llama2c(llama2c_file(), "file");
  check_same(*llama2c, kSample);
  check_same(*llama2c, " a ab  abab end");
  CHECK(llama2c_form(*llama2c).content == llama2c_file());
}

TEST_CASE("exported tokenizers: tokenizer_config names the special tokens") {
  const nlohmann::json config = nlohmann::json::parse(tokenizer_config(*read_llama2c(llama2c_file(), "file"), 64));
  CHECK(config["bos_token"] == "<s>");
  CHECK(config["eos_token"] == "</s>");
  CHECK(config["unk_token"] == "<unk>");
  CHECK(config["model_max_length"] == 64);
}

TEST_CASE("exported tokenizers: what cannot be expressed says why") {
  CHECK(hugging_face_form(*ids_tokenizer(5)).content.empty());
  CHECK(has(hugging_face_form(*ids_tokenizer(5)).reason, "no text"));
  const TokenizerPtr byte = make_tokenizer("byte", {});
  CHECK(llama2c_form(*byte).content.empty());
  CHECK(has(llama2c_form(*byte).reason, "none of llama2.c"));
  std::string twice = llama2c_file();  // a piece with U+2581 in it cannot be told from one with a space
  const std::string sign("\xe2\x96\x81");
  const float score = -50;
  const auto size = static_cast<std::int32_t>(sign.size());
  twice.append(reinterpret_cast<const char*>(&score), 4).append(reinterpret_cast<const char*>(&size), 4).append(sign);
  CHECK(has(hugging_face_form(*read_llama2c(twice, "file")).reason, "has the sign for spaces in it"));
}

TEST_CASE("exported tokenizers: tok512 on stories") {
  const auto tokenizer = test::outside_data("tokenizers/tok512.bin");
  const auto stories = test::outside_data("text/tinystories_valid.txt");
  if (!tokenizer || !stories) return;
  check_same(*read_llama2c(test::TempFolder::get(*tokenizer), "tok512.bin"),
             test::TempFolder::get(*stories).substr(0, 200'000));
}

}  // namespace
}  // namespace mixgrad
