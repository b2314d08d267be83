// Tokenizers of Hugging Face: agreement with ids that the package `tokenizers` computed (fixtures/, written by
// tests/reference/tokenizer_fixtures.py), and what is refused.
#include "nn/tokenizers/hugging_face/hugging_face_tokenizer.h"

#include <doctest/doctest.h>

#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/rng.h"
#include "core/text/utf8.h"
#include "nn/tokenizers/byte_pairs/split_pattern.h"
#include "nn/tokenizers/hugging_face/normalizers.h"
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
using Json = nlohmann::ordered_json;

const std::vector<std::string> kStyles{"gpt2",        "prefix_space", "llama3",    "qwen2",           "llama2",
                                       "unknown",     "few_bytes",    "metaspace", "metaspace_first", "added",
                                       "llama2_added"};

std::filesystem::path fixture(const std::string& name) {
  return std::filesystem::path(MIXGRAD_SOURCE_DIR) / "tests/nn/tokenizers/fixtures" / name;
}
TokenizerPtr style(const std::string& name) { return open_tokenizer(fixture(name + ".json")); }

std::string streamed(const Tokenizer& tokenizer, const Ids& ids) {
  const std::unique_ptr<TokenDecoder> decoder = tokenizer.new_decoder();
  std::string text;
  for (const std::int32_t id : ids) {
    const std::string part = decoder->next(id);
    CHECK(incomplete_suffix(part) == 0);
    text += part;
  }
  return text + decoder->finish();
}

TEST_CASE("hugging face: the ids and the texts are those of the package tokenizers") {
  for (const std::string& name : kStyles) {
    const TokenizerPtr tokenizer = style(name);
    const Json cases = Json::parse(TempFolder::get(fixture(name + ".ids.json")));
    CHECK(cases.size() > 50);
    for (const Json& one : cases) {
      const auto text = one["text"].get<std::string>();
      INFO(name << ": " << text.substr(0, 60));
      const Ids ids = tokenizer->encode(text);
      CHECK(ids == one["ids"].get<Ids>());
      CHECK(ids.size() <= tokenizer->max_tokens(text));
      // An added token whose characters spell bytes for ByteLevel comes back here; `tokenizers` has U+FFFD for it.
      CHECK(streamed(*tokenizer, ids) == replaced(one["decoded"].get<std::string>(), "caf\ufffd", "caf\u00e9"));
    }
  }
}

TEST_CASE("hugging face: byte-level tokenizers give any bytes back, with and without byte fallback") {
  Rng rng(5);
  for (const std::string name : {"gpt2", "llama3", "llama2", "metaspace"}) {
    const TokenizerPtr tokenizer = style(name);
    CHECK(tokenizer->expresses_any_text());
    for (int round = 0; round < 60; ++round) {
      std::string text(rng.below(60), ' ');
      for (char& byte : text) byte = static_cast<char>(rng.below(256));
      INFO(name);
      // Where a space comes before the text, `metaspace` keeps it.
      const std::string expected = name == "metaspace" && !text.empty() && text[0] != ' ' ? " " + text : text;
      CHECK(tokenizer->decode(tokenizer->encode(text)) == expected);
    }
  }
}

TEST_CASE("hugging face: a long text in parts, and a text as one long word, report each part once") {
  const std::string sample = TempFolder::get(fixture("scripts.txt"));
  std::string text;
  while (text.size() < 2'500'000) text += sample;
  for (const std::string name : {"gpt2", "qwen2", "llama2", "metaspace"}) {
    const TokenizerPtr tokenizer = style(name);
    std::size_t last = 0;
    std::size_t parts = 0;
    Ids ids;
    tokenizer->encode_into(text, "t", [&](std::span<const std::int32_t> part, std::size_t done) {
      CHECK_FALSE(part.empty());
      CHECK(done > last);
      last = done;
      ++parts;
      ids.insert(ids.end(), part.begin(), part.end());
    });
    INFO(name);
    CHECK(last == text.size());
    CHECK(parts > 1);
    CHECK(ids == tokenizer->encode(text));
    if (name == "gpt2") CHECK(tokenizer->decode(ids) == text);
  }
}

TEST_CASE("hugging face: stored as the file itself, with the ids of special tokens") {
  for (const std::string& name : kStyles) {
    const std::string json = TempFolder::get(fixture(name + ".json"));
    const TokenizerPtr tokenizer = load_tokenizer(json, "t");
    CHECK(tokenizer->to_json() == json);
    CHECK(*load_tokenizer(tokenizer->to_json(), "t") == *tokenizer);
    for (std::int32_t id = 0; id < tokenizer->vocab_size(); ++id) {
      const std::string piece = tokenizer->piece(id);
      CHECK(tokenizer->byte_count(id) == static_cast<std::int64_t>(piece.size()));
      if (!piece.empty()) CHECK(tokenizer->piece(tokenizer->id_of(piece).value()) == piece);
    }
    CHECK(has(error_of<ValueError>([&] { (void)tokenizer->decode(Ids{100'000}); }), "a token id must be from 0 to"));
  }
  CHECK(style("llama2")->special_tokens().start == 1);
  CHECK(style("llama2")->special_tokens().end == 2);
  CHECK(style("llama2")->special_tokens().unknown == 0);
  CHECK(style("llama3")->special_tokens().start == 0);
  CHECK(style("gpt2")->special_tokens().end == 0);
  CHECK_FALSE(style("gpt2")->special_tokens().unknown.has_value());
}

// A byte-level tokenizer with few tokens, and what a test changes in it.
Json small() {
  return Json::parse(R"({
    "version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null,
    "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
    "post_processor": null, "decoder": {"type": "ByteLevel"},
    "model": {"type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
              "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "ignore_merges": false,
              "vocab": {"a": 0, "b": 1, "ab": 2, "\u0120": 3, "abb": 4}, "merges": [["a", "b"], "ab b"]}})");
}

TEST_CASE("hugging face: merges as pairs and as texts; what the vocabulary lacks is named with its place") {
  const TokenizerPtr tokenizer = load_tokenizer(small().dump(), "t");
  CHECK(tokenizer->encode("abb ab") == Ids{4, 3, 2});
  CHECK_FALSE(tokenizer->expresses_any_text());
  CHECK(tokenizer->has_character('a'));
  CHECK(tokenizer->has_character(' '));
  CHECK_FALSE(tokenizer->has_character('c'));
  CHECK(error_of<ValueError>([&] { (void)tokenizer->encode("ab\nabc", "x.txt"); }) ==
        "x.txt: every character must be in the tokenizer's vocabulary, which has no unknown token; found U+000A at "
        "byte 2 "
        "(line 1); leave it out, or take a tokenizer that has it");
  CHECK(has(error_of<ValueError>([&] { (void)tokenizer->encode("é"); }), "found byte 0xc3 at byte 0"));
}

TEST_CASE("hugging face: everything else is refused by its name") {
  const auto refused = [](const std::string& pointer, const Json& value) {
    Json changed = small();
    changed[Json::json_pointer(pointer)] = value;
    return error_of<FormatError>([&] { load_tokenizer(changed.dump(), "tokenizer.json"); });
  };
  const auto part = [](const char* text) { return Json::parse(text); };
  CHECK(refused("/model/type", "WordPiece") ==
        "tokenizer.json: model.type must be BPE; found \"WordPiece\", which is not supported");
  CHECK(has(refused("/model/type", "Unigram"), "found \"Unigram\", which is not supported"));
  CHECK(has(refused("/model/merges/0", part(R"(["a","c"])")),
            "model.merges[0] must join two tokens of the vocabulary to a third; \"a\" and \"c\" need \"c\""));
  CHECK(has(refused("/model/merges/0", part(R"(["b","b"])")), "need \"bb\", which is not in it"));
  CHECK(has(refused("/model/merges/0", "a b b"), "model.merges[0] must be two tokens with one space between them"));
  CHECK(has(refused("/model/merges/0", 3), "model.merges[0] must be a pair of tokens; found 3"));
  CHECK(has(refused("/model/vocab/a", 1), "must be an id that no other token has; found 1"));
  CHECK(has(refused("/model/vocab/a", 9), "must be an integer from 0 to 4; found 9"));
  CHECK(has(refused("/model/vocab", Json::object()), "model.vocab must be an object of 1 to 16777216 tokens"));
  CHECK(has(refused("/model/dropout", 0.1), "model.dropout must be null or 0: merges are never left out; found 0.1"));
  CHECK(has(refused("/model/end_of_word_suffix", "</w>"), "model.end_of_word_suffix must be null or empty"));
  CHECK(
      has(refused("/model/continuing_subword_prefix", "##"), "model.continuing_subword_prefix must be null or empty"));
  CHECK(has(refused("/model/byte_fallback", true), "model.byte_fallback is not supported beside ByteLevel"));
  CHECK(has(refused("/model/colour", 1), "model: unknown key \"colour\""));
  CHECK(has(refused("/colour", 1), "unknown key \"colour\""));
  CHECK(has(refused("/version", "2.0"), "version must be 1.0; found \"2.0\""));
  CHECK(has(refused("/truncation", part(R"({"max_length":5})")), "truncation must be null: a text is encoded whole"));
  CHECK(has(refused("/padding", part("{}")), "padding must be null"));
  CHECK(has(
      refused("/normalizer", part(R"({"type":"Lowercase"})")),
      "normalizer.type must be one of Sequence, Prepend, Replace, NFC; found \"Lowercase\", which is not supported"));
  CHECK(has(refused("/normalizer", part(R"({"type":"Sequence","normalizers":[{"type":"NFC"},{"type":"NFKC"}]})")),
            "normalizer.normalizers[1].type must be one of"));
  CHECK(has(refused("/normalizer", part(R"({"type":"Replace","pattern":{"Regex":" +"},"content":"a"})")),
            "normalizer.pattern: unknown key \"Regex\"; the keys are String"));
  CHECK(has(refused("/normalizer", part(R"({"type":"Replace","pattern":{"String":""},"content":"a"})")),
            "normalizer.pattern.String must be a text of one character or more"));
  CHECK(has(refused("/pre_tokenizer", part(R"({"type":"Whitespace"})")),
            "pre_tokenizer.type must be one of Sequence, ByteLevel, Split, Metaspace; found \"Whitespace\""));
  CHECK(has(refused("/pre_tokenizer",
                    part(R"({"type":"Split","pattern":{"Regex":"\\d+"},"behavior":"Isolated","invert":false})")),
            "pre_tokenizer.pattern.Regex must be the pattern of GPT-2, Llama-3 or Qwen2; found \"\\\\d+\""));
  Json split = part(R"({"type":"Split","pattern":{"Regex":""},"behavior":"Removed","invert":false})");
  split["pattern"]["Regex"] = std::string(split_pattern_regex(SplitPattern::qwen2));
  CHECK(has(refused("/pre_tokenizer", split), "pre_tokenizer.behavior must be Isolated; found \"Removed\""));
  CHECK(has(refused("/pre_tokenizer", part(R"({"type":"Sequence","pretokenizers":[{"type":"ByteLevel"},
                                               {"type":"Metaspace","replacement":"_"}]})")),
            "behind ByteLevel no pre-tokenizer is supported"));
  CHECK(has(refused("/pre_tokenizer", part(R"({"type":"Metaspace","replacement":"__"})")),
            "pre_tokenizer.replacement must be a text of one character"));
  CHECK(has(refused("/pre_tokenizer", part(R"({"type":"Metaspace","replacement":"_","prepend_scheme":"last"})")),
            "pre_tokenizer.prepend_scheme must be always, first or never; found \"last\""));
  CHECK(has(refused("/pre_tokenizer", part(R"({"type":"Metaspace","replacement":"_","add_prefix_space":false})")),
            "add_prefix_space must be true unless prepend_scheme is never"));
  split["behavior"] = "Isolated";
  CHECK(has(refused("/pre_tokenizer",
                    Json{{"type", "Sequence"},
                         {"pretokenizers",
                          {split, part(R"({"type":"Metaspace","replacement":"_","prepend_scheme":"first"})")}}}),
            "with prepend_scheme first, Metaspace must be the first pre-tokenizer"));
  CHECK(has(refused("/decoder", part(R"({"type":"WordPiece"})")), "decoder.type must be one of Sequence, Replace"));
  CHECK(has(refused("/decoder", part(R"({"type":"Sequence","decoders":[{"type":"ByteFallback"},
                                         {"type":"Strip","content":" ","start":1,"stop":0}]})")),
            "behind ByteFallback only Fuse is supported; found \"Strip\""));
  CHECK(has(refused("/decoder", part(R"({"type":"Sequence","decoders":[{"type":"Fuse"},{"type":"ByteLevel"}]})")),
            "ByteLevel is supported before Fuse and ByteLevel only"));
  CHECK(has(refused("/decoder", part(R"({"type":"Strip","content":"ab","start":1,"stop":0})")),
            "decoder.content must be a text of one character"));
  CHECK(has(refused("/post_processor", part(R"({"type":"Magic"})")), "post_processor.type must be one of ByteLevel"));
  const char* token = R"([{"id":5,"content":"<s>","single_word":false,"lstrip":false,"rstrip":false,"normalized":false,
                           "special":true}])";
  CHECK(refused("/added_tokens", part(token)).empty());
  Json tokens = part(token);
  tokens[0]["id"] = 7;
  CHECK(has(refused("/added_tokens", tokens), "added_tokens[0].id must be 5, the next free id; found 7"));
  tokens[0]["content"] = "ab";
  CHECK(has(refused("/added_tokens", tokens), "added_tokens[0].id must be 2, that of the vocabulary; found 7"));
  tokens[0]["content"] = "";
  CHECK(has(refused("/added_tokens", tokens), "added_tokens[0].content must be a text of one character or more"));
  tokens = part(token);
  tokens.push_back(tokens[0]);
  CHECK(has(refused("/added_tokens", tokens), "added_tokens[1].content must be a text that occurs once"));
  tokens = part(token);
  tokens[0].erase("special");
  CHECK(has(refused("/added_tokens", tokens), "the key added_tokens[0].special is required"));
  Json deep = part(R"({"type":"NFC"})");
  for (int i = 0; i < 6; ++i) deep = Json{{"type", "Sequence"}, {"normalizers", Json::array({deep})}};
  CHECK(has(refused("/normalizer", deep), "at most 4 Sequences may stand within each other"));
}

TEST_CASE("tokenizer files: GPT-2's two files under both names, a folder with tokenizer.json, what is none") {
  const TempFolder folder;
  const auto put = [&](const std::string& name, const std::string& content) { return folder.put(name, content); };
  const std::string vocab = R"({"a": 0, "b": 1, "ab": 2, "<|endoftext|>": 3})";
  const auto refused = [&] { return error_of<FormatError>([&] { open_tokenizer(folder.path()); }); };
  CHECK(
      has(refused(), "a folder with a tokenizer must hold tokenizer.json, or vocab.json and merges.txt, or be a run"));
  put("vocab.json", vocab);
  CHECK(has(refused(), "a folder with vocab.json must hold merges.txt as well; it is missing"));
  put("merges.txt", "#version: 0.2\na b\n");
  const TokenizerPtr tokenizer = open_tokenizer(folder.path());
  CHECK(tokenizer->encode("abba") == Ids{2, 1, 0});
  CHECK(tokenizer->special_tokens().end == 3);
  CHECK(tokenizer->piece(3) == "<|endoftext|>");
  CHECK(*load_tokenizer(tokenizer->to_json(), "t") == *tokenizer);
  put("merges.txt", "#version: 0.2\r\na b\r\n");
  CHECK(*open_tokenizer(folder.path()) == *tokenizer);
  put("merges.txt", "a b\n\n");
  CHECK(has(refused(), "merges.txt: every line must be two tokens with one space between them; found \"\" in line 2"));
  put("merges.txt", "a c\n");
  CHECK(has(refused(), "model.merges[0] must join two tokens of the vocabulary"));
  put("vocab.json", "[1]");
  CHECK(has(refused(), "model.vocab must be an object"));
  put("tokenizer.json", small().dump());
  CHECK(open_tokenizer(folder.path())->encode("abb") == Ids{4});
  CHECK(has(error_of<FormatError>([&] { open_tokenizer(put("x", "hello world")); }),
            "a tokenizer must be a tokenizer.json or a llama2.c tokenizer.bin; this file begins like neither"));
  CHECK(has(error_of<FormatError>([&] { open_tokenizer(put("x", "{}")); }), "the key type is required"));
  CHECK(has(error_of<IoError>([&] { open_tokenizer(folder / "none"); }), "No such file"));
  const TempFolder other;
  other.put("gpt2_vocab.json", vocab);
  other.put("gpt2_merges.bpe", "a b\n");
  CHECK(*open_tokenizer(other.path()) == *tokenizer);
}

}  // namespace
}  // namespace mixgrad
