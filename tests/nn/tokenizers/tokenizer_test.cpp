// nn/tokenizers and core/text/utf8.
#include "nn/tokenizers/tokenizer_types.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <sstream>

#include "core/error.h"
#include "core/text/suggest.h"
#include "core/text/utf8.h"
#include "nn/tokenizers/byte_tokenizer.h"
#include "nn/tokenizers/char_tokenizer.h"
#include "tests/support/temp_folder.h"
#include "tests/support/text.h"

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
  const TokenizerPtr tokenizer = byte_tokenizer();
  CHECK(tokenizer->vocab_size() == 256);
  CHECK(tokenizer->byte_ids() != nullptr);
  const std::string text = std::string("a\0", 2) + "é\xff";
  CHECK(tokenizer->encode(text) == Ids{97, 0, 0xc3, 0xa9, 0xff});
  CHECK(tokenizer->decode(Ids{97, 0, 0xc3, 0xa9, 0xff}) == text);
  CHECK(tokenizer->piece(0xc3) == "\xc3");
  CHECK(tokenizer->byte_count(0xc3) == 1);
  CHECK(has(error_of<ValueError>([&] { (void)tokenizer->piece(256); }), "a token id must be from 0 to 255; got 256"));
  CHECK(has(error_of<ValueError>([&] { (void)tokenizer->byte_count(-1); }), "got -1"));
}

TEST_CASE("tokenizer: the highest characters first") {
  const TokenizerPtr tokenizer = char_tokenizer("\U0010FFFF\U00010000\uFFFFzz\u0080\x7f\U0010FFFE\U0010FFFF", "x.txt");
  CHECK(tokenizer->decode(Ids{0, 1, 2, 3, 4, 5, 6}) == "z\x7f\u0080\uFFFF\U00010000\U0010FFFE\U0010FFFF");
  CHECK(tokenizer->vocab_size() == 7);
  CHECK(*load_tokenizer(tokenizer->to_json(), "x.json") == *tokenizer);
}

TEST_CASE("tokenizer: characters in ascending order") {
  const TokenizerPtr tokenizer = char_tokenizer("b\na é😀a", "x.txt");
  CHECK(tokenizer->vocab_size() == 6);
  CHECK(tokenizer->byte_ids() == nullptr);
  CHECK(tokenizer->encode("\n abé😀") == Ids{0, 1, 2, 3, 4, 5});
  CHECK(tokenizer->encode("").empty());
  CHECK(tokenizer->decode(Ids{5, 4, 0}) == "😀é\n");
  CHECK(tokenizer->piece(5) == "😀");
  CHECK(tokenizer->byte_count(5) == 4);
  CHECK(tokenizer->byte_count(4) == 2);
  CHECK(tokenizer->byte_count(0) == 1);
  CHECK(char_tokenizer("ab", "x")->byte_ids() != nullptr);
  CHECK(has(error_of<ValueError>([&] { (void)tokenizer->piece(6); }), "from 0 to 5; got 6"));
}

TEST_CASE("tokenizer: characters that are not in the vocabulary, text that is not UTF-8") {
  const TokenizerPtr tokenizer = char_tokenizer("ab\n", "x.txt");
  CHECK(error_of<ValueError>([&] { (void)tokenizer->encode("ab\naé", "prompt"); }) ==
        "prompt: every character must be one of the 3 of the vocabulary; found 'é' (U+00E9) at line 2, column 2 (byte "
        "4); leave them out, or use a model with the byte tokenizer");
  CHECK(has(error_of<ValueError>([&] { (void)tokenizer->encode("c"); }),
            "found 'c' (U+0063) at line 1, column 1 (byte 0)"));
  CHECK(has(error_of<ValueError>([&] { (void)tokenizer->encode("\t"); }), "found U+0009 at line 1, column 1 (byte 0)"));
  CHECK(has(error_of<FormatError>([&] { (void)tokenizer->encode("ab\xff"); }), "an invalid sequence begins at byte 2"));
  const std::string bad = error_of<FormatError>([] { char_tokenizer("a\nb\xc3", "x.txt"); });
  CHECK(has(bad, "x.txt: the char tokenizer needs UTF-8 text; an invalid sequence begins at byte 3 (line 2)"));
  CHECK(has(bad, "the byte tokenizer takes any text"));
  CHECK(has(error_of<FormatError>([] { char_tokenizer("", "x.txt"); }), "it is empty"));
}

TEST_CASE("tokenizer: stored form") {
  CHECK(byte_tokenizer()->to_json() == "{\"type\":\"byte\"}\n");
  const TokenizerPtr tokenizer = char_tokenizer(std::string("\0\n\"\\aé😀", 11), "x");
  CHECK(*load_tokenizer(tokenizer->to_json(), "t") == *tokenizer);
  CHECK(*load_tokenizer(byte_tokenizer()->to_json(), "t") == *byte_tokenizer());
  CHECK_FALSE(*tokenizer == *byte_tokenizer());
  CHECK_FALSE(*tokenizer == *char_tokenizer("a", "x"));
  CHECK(char_tokenizer("b a", "x")->to_json() == "{\"type\":\"char\",\"vocab\":[\" \",\"a\",\"b\"]}\n");
  const TokenizerPtr unordered = load_tokenizer(R"({"type":"char","vocab":["b","a"]})", "t");
  CHECK(unordered->encode("ab") == Ids{1, 0});
  CHECK(unordered->piece(0) == "b");
}

TEST_CASE("tokenizer: stored form, refused") {
  const auto refused = [](const std::string& text) {
    const std::string error = error_of<FormatError>([&] { load_tokenizer(text, "tokenizer.json"); });
    CHECK(error.substr(0, 16) == "tokenizer.json: ");
    return error;
  };
  CHECK(has(refused(""), "valid JSON"));
  CHECK(has(refused("[]"), "must be an object"));
  CHECK(has(refused("{}"), "the key type is required"));
  CHECK(
      has(refused(R"({"type":"words"})"), "type must be one of " + join(tokenizer_type_names()) + "; found \"words\""));
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

TEST_CASE("utf8: the incomplete end of a text") {
  CHECK(incomplete_suffix("") == 0);
  CHECK(incomplete_suffix("abc") == 0);
  CHECK(incomplete_suffix("aé") == 0);
  CHECK(incomplete_suffix("a\xc3") == 1);
  CHECK(incomplete_suffix("a\xe2\x82") == 2);
  CHECK(incomplete_suffix("\xf0\x9f\x98") == 3);
  CHECK(incomplete_suffix("\xf0\x9f\x98\x80") == 0);
  CHECK(incomplete_suffix("a\x80") == 0);     // continues nothing
  CHECK(incomplete_suffix("\xc3\xc3") == 1);  // the first can no longer be completed
  CHECK(incomplete_suffix("\xe0\x80") == 0);  // overlong
  CHECK(incomplete_suffix("\xe0\xa0") == 2);
  CHECK(incomplete_suffix("\xed\xa0") == 0);  // a surrogate
  CHECK(incomplete_suffix("\xf4\x90") == 0);  // above U+10FFFF
  CHECK(incomplete_suffix("\xf5") == 0);
  CHECK(incomplete_suffix("\xc0") == 0);
}

// Every type that is made from a text, with what it makes from this one.
std::vector<TokenizerPtr> every_tokenizer(const std::string& text) {
  std::vector<TokenizerPtr> tokenizers;
  for (std::string name : tokenizer_names()) {
    if (name.ends_with(":N")) name.replace(name.size() - 1, 1, "260");
    tokenizers.push_back(make_tokenizer(name, {.text = text}));
  }
  return tokenizers;
}

TEST_CASE("tokenizers: every type decodes what it encodes, in a stream as well, and is stored and loaded") {
  std::string text = "b\na é😀 αβγ\n\tZ";
  for (int i = 0; i < 12; ++i) text += text;  // longer than the buffers of any encoder
  for (const TokenizerPtr& tokenizer : every_tokenizer(text)) {
    INFO(tokenizer->to_json().substr(0, 30));
    const Ids ids = tokenizer->encode(text);
    CHECK(ids.size() <= tokenizer->max_tokens(text));
    CHECK(tokenizer->decode(ids) == text);
    CHECK(tokenizer->encode("").empty());
    CHECK(*load_tokenizer(tokenizer->to_json(), "t") == *tokenizer);
    const std::unique_ptr<TokenDecoder> decoder = tokenizer->new_decoder();
    std::string streamed;
    std::int64_t bytes = 0;
    for (const std::int32_t id : ids) {
      CHECK(id >= 0);
      CHECK(id < tokenizer->vocab_size());
      const std::string part = decoder->next(id);
      CHECK(incomplete_suffix(part) == 0);  // only whole characters arrive
      streamed += part;
      bytes += tokenizer->byte_count(id);
      if (streamed.size() > 100) break;
    }
    CHECK(text.starts_with(streamed + decoder->finish()));
    CHECK(bytes == static_cast<std::int64_t>(streamed.size()));
    for (std::int32_t id = 0; id < std::min<std::int64_t>(tokenizer->vocab_size(), 300); ++id) {
      CHECK(tokenizer->id_of(tokenizer->piece(id)) == id);
    }
    CHECK_FALSE(tokenizer->id_of("").has_value());
    CHECK_FALSE(tokenizer->id_of("no such piece").has_value());
    std::size_t last = 0;
    tokenizer->encode_into(text, "t", [&](std::span<const std::int32_t> part, std::size_t done) {
      CHECK_FALSE(part.empty());
      CHECK(done > last);
      last = done;
    });
    CHECK(last == text.size());
  }
}

TEST_CASE("tokenizers: a stream of bytes shows characters when they are complete, and what is left at the end") {
  const TokenizerPtr tokenizer = byte_tokenizer();
  const std::unique_ptr<TokenDecoder> decoder = tokenizer->new_decoder();
  CHECK(decoder->next('a') == "a");
  CHECK(decoder->next(0xc3) == "");
  CHECK(decoder->next(0xa9) == "é");
  CHECK(decoder->next(0xe2) == "");
  CHECK(decoder->next(0x82) == "");
  CHECK(decoder->next('b') ==
        "\xe2\x82"
        "b");  // it was no character after all
  CHECK(decoder->next(0xff) == "\xff");
  CHECK(decoder->next(0xf0) == "");
  CHECK(decoder->finish() == "\xf0");
  CHECK(decoder->finish() == "");
  CHECK_THROWS_AS((void)decoder->next(256), ValueError);
  CHECK_FALSE(tokenizer->special_tokens().start.has_value());
}

TEST_CASE("tokenizers: a name has the argument of its type, and no other") {
  const auto refused = [](const std::string& name) {
    return error_of<ValueError>([&] { (void)make_tokenizer(name, {.text = "abab"}); });
  };
  CHECK(refused("bpe") == "tokenizer: bpe must have the form bpe:N; got \"bpe\"; add what is missing");
  CHECK(has(refused("bpe:"), "must have the form bpe:N"));
  CHECK(refused("char:3") == "tokenizer: char takes nothing behind its name; got \"char:3\"; write char");
  CHECK(refused("bpe:256") ==
        "tokenizer: bpe:N needs a number of tokens from 257 to 1048576; got \"bpe:256\"; write for example bpe:4096");
  CHECK(has(refused("bpe:1e3"), "got \"bpe:1e3\""));
  CHECK(has(refused("bpe:-1"), "got \"bpe:-1\""));
  CHECK(has(refused("llama2c"), "tokenizer: the name must be one of " + join(tokenizer_names()) + "; got \"llama2c\""));
  CHECK(has(refused("cahr"), "did you mean \"char\"?"));
  CHECK(names_tokenizer("bpe:4096"));
  CHECK(names_tokenizer("bpe"));
  CHECK_FALSE(names_tokenizer("gpt2"));
  CHECK_FALSE(names_tokenizer("llama2c"));
  CHECK(named_tokenizer_type("bpe:257").make({.text = "abab"})->encode("ab") == Ids{256});
}

TEST_CASE("tokenizers: making one follows the text's progress") {
  const std::string text(std::size_t{3} << 20U, 'a');
  std::vector<std::size_t> seen;
  make_tokenizer("char", {.text = text, .progress = [&](std::size_t bytes) { seen.push_back(bytes); }});
  CHECK(seen == std::vector<std::size_t>{1U << 20U, 2U << 20U, 3U << 20U});
}

// A tokenizer from outside: words of a fixed list, an unknown token, and ids beyond 16 bits.
class WordTokenizer : public Tokenizer {
 public:
  static constexpr std::int32_t kUnknown = 70'000;
  std::int64_t vocab_size() const override { return kUnknown + 1; }
  SpecialTokens special_tokens() const override { return {.start = 1, .unknown = kUnknown}; }
  void encode_into(std::string_view text, const std::string&, const TokenSink& sink) const override {
    std::istringstream words{std::string(text)};
    std::size_t done = 0;
    for (std::string word; words >> word; ++done) {
      const std::int32_t id = id_of(word).value_or(kUnknown);
      sink(std::span(&id, 1), done + 1);
    }
  }
  std::string piece(std::int32_t id) const override {
    check_id(id);
    return id == kUnknown ? "?" : "w" + std::to_string(id);
  }
  std::optional<std::int32_t> id_of(std::string_view piece) const override {
    if (piece.size() < 2 || piece[0] != 'w') return std::nullopt;
    return std::stoi(std::string(piece.substr(1)));
  }
  std::string to_json() const override { return R"({"type":"words"})"; }
};

TEST_CASE("tokenizers: a type is registered from outside; one without a part, or with a taken name, is refused") {
  const auto make = [](const TokenizerInput&) -> TokenizerPtr { return std::make_shared<WordTokenizer>(); };
  const auto load = [](std::string_view, const std::string&) -> TokenizerPtr {
    return std::make_shared<WordTokenizer>();
  };
  const auto refused = [](TokenizerType type) {
    return error_of<ValueError>([&] { register_tokenizer_type(std::move(type)); });
  };
  const TokenizerType complete{.name = "words", .summary = "one token per word", .make = make, .load = load};
  TokenizerType type = complete;
  type.name = "";
  CHECK(refused(type) == "tokenizer type \"\": the part name is required; it is missing; set it");
  type = complete;
  type.summary = "";
  CHECK(has(refused(type), "tokenizer type \"words\": the part summary is required"));
  type = complete;
  type.load = nullptr;
  CHECK(has(refused(type), "the part load is required"));
  type = complete;
  type.name = "char";
  CHECK(has(refused(type), "tokenizer type \"char\": the name is taken; choose another one than char, "));
  CHECK(tokenizer_type_names()[0] == "char");
  CHECK(tokenizer_type_names()[1] == "byte");
  CHECK(tokenizer_names()[2] == "bpe:N");
  CHECK(has(
      error_of<ValueError>([] { (void)tokenizer_type("cahr"); }),
      "tokenizer: the type must be one of " + join(tokenizer_type_names()) + "; got \"cahr\"; did you mean \"char\"?"));

  const TokenizerType& known = tokenizer_type("char");
  register_tokenizer_type(complete);
  CHECK(&tokenizer_type("char") == &known);  // references stay valid
  CHECK(tokenizer_type_names().back() == "words");
  CHECK(has(refused(complete), "the name is taken"));
  CHECK(tokenizer_names().back() == "words");
  const TokenizerPtr words = load_tokenizer(R"({"type":"words"})", "tokenizer.json");
  CHECK(words->encode("w3 w69999 rain") == Ids{3, 69'999, WordTokenizer::kUnknown});
  CHECK(words->decode(Ids{3, 69'999}) == "w3w69999");
  CHECK(words->special_tokens().start == 1);
}

}  // namespace
}  // namespace mixgrad
