// nn/tokenizer and nn/utf8.
#include "nn/tokenizers/tokenizer.h"

#include <doctest/doctest.h>

#include "core/error.h"
#include "core/text/utf8.h"
#include "tests/support/temp_folder.h"

namespace mixgrad {
namespace {

using test::error_of;
using test::has;
using Ids = std::vector<std::int32_t>;

TEST_CASE("utf8: every code point there and back") {
  for (char32_t code = 0; code < kCodePoints; ++code) {
    if (code >= 0xd800 && code < 0xe000) continue;
    const std::string bytes = utf8_bytes(code);
    std::size_t offset = 0;
    const std::int32_t back = next_code_point(bytes, offset);
    if (back != static_cast<std::int32_t>(code) || offset != bytes.size()) FAIL("code point ", code);
  }
}

TEST_CASE("utf8: invalid sequences") {
  const std::vector<std::string> bad{"\x80",
                                     "\xc3",
                                     "\xc3(",
                                     "\xc0\x80",
                                     "\xc1\xbf",
                                     "\xe0\x80\x80",
                                     "\xe2\x82",
                                     "\xed\xa0\x80",
                                     "\xf0\x80\x80\x80",
                                     "\xf4\x90\x80\x80",
                                     "\xf5\x80\x80\x80",
                                     "\xff",
                                     "\xf0\x9f\x98"};
  for (const std::string& text : bad) {
    std::size_t offset = 0;
    CHECK(next_code_point(text, offset) == -1);
    CHECK(offset == 0);
  }
}

TEST_CASE("tokenizer: bytes") {
  const Tokenizer tokenizer = Tokenizer::bytes();
  CHECK(tokenizer.vocab_size() == 256);
  CHECK(tokenizer.is_single_byte());
  const std::string text = std::string("a\0", 2) + "é\xff";
  CHECK(tokenizer.encode(text) == Ids{97, 0, 0xc3, 0xa9, 0xff});
  CHECK(tokenizer.decode(Ids{97, 0, 0xc3, 0xa9, 0xff}) == text);
  CHECK(tokenizer.decode(0xc3) == "\xc3");
  CHECK(tokenizer.byte_count(0xc3) == 1);
  CHECK(has(error_of<ValueError>([&] { (void)tokenizer.decode(256); }), "a token id must be from 0 to 255; got 256"));
  CHECK(has(error_of<ValueError>([&] { (void)tokenizer.byte_count(-1); }), "got -1"));
}

TEST_CASE("tokenizer: the highest characters first") {
  const Tokenizer tokenizer =
      Tokenizer::chars_of("\U0010FFFF\U00010000\uFFFFzz\u0080\x7f\U0010FFFE\U0010FFFF", "x.txt");
  CHECK(tokenizer.decode(Ids{0, 1, 2, 3, 4, 5, 6}) == "z\x7f\u0080\uFFFF\U00010000\U0010FFFE\U0010FFFF");
  CHECK(tokenizer.vocab_size() == 7);
  CHECK(Tokenizer::from_json(tokenizer.to_json(), "x.json") == tokenizer);
}

TEST_CASE("tokenizer: characters in ascending order") {
  const Tokenizer tokenizer = Tokenizer::chars_of("b\na é😀a", "x.txt");
  CHECK(tokenizer.vocab_size() == 6);
  CHECK_FALSE(tokenizer.is_single_byte());
  CHECK(tokenizer.encode("\n abé😀") == Ids{0, 1, 2, 3, 4, 5});
  CHECK(tokenizer.encode("").empty());
  CHECK(tokenizer.decode(Ids{5, 4, 0}) == "😀é\n");
  CHECK(tokenizer.decode(5) == "😀");
  CHECK(tokenizer.byte_count(5) == 4);
  CHECK(tokenizer.byte_count(4) == 2);
  CHECK(tokenizer.byte_count(0) == 1);
  CHECK(Tokenizer::chars_of("ab", "x").is_single_byte());
  CHECK(has(error_of<ValueError>([&] { (void)tokenizer.decode(6); }), "from 0 to 5; got 6"));
}

TEST_CASE("tokenizer: characters that are not in the vocabulary, text that is not UTF-8") {
  const Tokenizer tokenizer = Tokenizer::chars_of("ab\n", "x.txt");
  CHECK(error_of<ValueError>([&] { (void)tokenizer.encode("ab\naé", "prompt"); }) ==
        "prompt: every character must be one of the 3 of the vocabulary; found 'é' (U+00E9) at byte 4 (line 2); leave "
        "it out, or train with --tokenizer byte");
  CHECK(has(error_of<ValueError>([&] { (void)tokenizer.encode("c"); }), "found 'c' (U+0063) at byte 0"));
  CHECK(has(error_of<ValueError>([&] { (void)tokenizer.encode("\t"); }), "found U+0009 at byte 0"));
  CHECK(has(error_of<FormatError>([&] { (void)tokenizer.encode("ab\xff"); }), "an invalid sequence begins at byte 2"));
  const std::string bad = error_of<FormatError>([] { Tokenizer::chars_of("a\nb\xc3", "x.txt"); });
  CHECK(has(bad, "x.txt: the char tokenizer needs UTF-8 text; an invalid sequence begins at byte 3 (line 2)"));
  CHECK(has(bad, "use --tokenizer byte"));
  CHECK(has(error_of<FormatError>([] { Tokenizer::chars_of("", "x.txt"); }), "it is empty"));
}

TEST_CASE("tokenizer: stored form") {
  CHECK(Tokenizer::bytes().to_json() == "{\"type\":\"byte\"}\n");
  const Tokenizer tokenizer = Tokenizer::chars_of(std::string("\0\n\"\\aé😀", 11), "x");
  CHECK(Tokenizer::from_json(tokenizer.to_json(), "t") == tokenizer);
  CHECK(Tokenizer::from_json(Tokenizer::bytes().to_json(), "t") == Tokenizer::bytes());
  CHECK_FALSE(tokenizer == Tokenizer::bytes());
  CHECK_FALSE(tokenizer == Tokenizer::chars_of("a", "x"));
  CHECK(Tokenizer::chars_of("b a", "x").to_json() == "{\"type\":\"char\",\"vocab\":[\" \",\"a\",\"b\"]}\n");
  const Tokenizer unordered = Tokenizer::from_json(R"({"type":"char","vocab":["b","a"]})", "t");
  CHECK(unordered.encode("ab") == Ids{1, 0});
  CHECK(unordered.decode(0) == "b");
}

TEST_CASE("tokenizer: stored form, refused") {
  const auto refused = [](const std::string& text) {
    const std::string error = error_of<FormatError>([&] { Tokenizer::from_json(text, "tokenizer.json"); });
    CHECK(error.substr(0, 16) == "tokenizer.json: ");
    return error;
  };
  CHECK(has(refused(""), "valid JSON"));
  CHECK(has(refused("[]"), "must be an object"));
  CHECK(has(refused("{}"), "the key type is required"));
  CHECK(has(refused(R"({"type":"bpe"})"), "type must be \"byte\" or \"char\"; found \"bpe\""));
  CHECK(has(refused(R"({"type":1})"), "found 1"));
  CHECK(has(refused(R"({"type":"byte","vocab":[]})"), "unknown key \"vocab\""));
  CHECK(has(refused(R"({"type":"char"})"), "the key vocab is required"));
  CHECK(has(refused(R"({"type":"char","vocab":["a"],"vocabb":1})"), "did you mean \"vocab\"?"));
  CHECK(has(refused(R"({"type":"char","vocab":["a"],"vocab":["a"]})"), "\"vocab\" occurs twice"));
  CHECK(has(refused(R"({"type":"char","vocab":"ab"})"), "vocab must be an array"));
  CHECK(has(refused(R"({"type":"char","vocab":[]})"), "one character or more"));
  CHECK(has(refused(R"({"type":"char","vocab":["a","bc"]})"), "vocab[1] must be a string of exactly one character"));
  CHECK(has(refused(R"({"type":"char","vocab":[""]})"), "vocab[0] must be a string of exactly one character"));
  CHECK(has(refused(R"({"type":"char","vocab":[7]})"), "vocab[0] must be a string; found 7"));
  CHECK(has(refused(R"({"type":"char","vocab":["a","b","a"]})"), "vocab[2] must be a character that has not occurred"));
  CHECK(has(refused("{\"type\":\"char\",\"vocab\":[\"\xff\"]}"), "valid JSON"));
}

}  // namespace
}  // namespace mixgrad
