// nn/data/data_set, nn/tokenizers/ids_tokenizer: sources opened as the data of a run.
#include "nn/data/data_set.h"

#include <doctest/doctest.h>

#include <algorithm>

#include "core/error.h"
#include "nn/tokenizers/byte_tokenizer.h"
#include "nn/tokenizers/char_tokenizer.h"
#include "nn/tokenizers/ids_tokenizer.h"
#include "nn/tokenizers/tokenizer_types.h"
#include "tests/support/temp_folder.h"
#include "tests/support/text.h"

namespace mixgrad {
namespace {

using test::error_of;
using test::has;
using test::TempFolder;
using TokenIds = std::vector<std::int32_t>;

TokenIds ids_in(const TokenData& data, TokenRange range) {
  TokenIds ids(static_cast<std::size_t>(range.size()));
  data.gather(range.begin, range.size(), ids.data());
  return ids;
}

std::string text_in(const TokenData& data, TokenRange range) { return data.tokenizer().decode(ids_in(data, range)); }

TEST_CASE("ids tokenizer: numbers with spaces, stored and loaded, refused") {
  const TokenizerPtr ids = ids_tokenizer(400);
  CHECK(ids->encode(" 3\n399 0") == TokenIds{3, 399, 0});
  CHECK(ids->decode(TokenIds{3, 399, 0}) == "3 399 0 ");
  CHECK(ids->encode(ids->decode(TokenIds{0, 7, 399})) == TokenIds{0, 7, 399});
  CHECK(ids->encode("") == TokenIds{});
  CHECK_FALSE(ids->is_text());
  for (const std::int32_t id : {0, 9, 10, 399}) CHECK(ids->id_of(ids->piece(id)) == id);
  for (const char* piece : {"", " ", "400 ", "-1 ", "01 ", "1", "1  "}) CHECK_FALSE(ids->id_of(piece).has_value());
  CHECK(*load_tokenizer(ids->to_json(), "tokenizer.json") == *ids);
  CHECK(has(error_of<ValueError>([&] { ids->encode("1 400"); }), "numbers from 0 to 399; found \"400\" at byte 2"));
  CHECK(has(error_of<ValueError>([&] { ids->encode("x"); }), "found \"x\" at byte 0"));
  const auto refused = [](const std::string& json) {
    return error_of<FormatError>([&] { load_tokenizer(json, "tokenizer.json"); });
  };
  CHECK(has(refused(R"({"type":"ids"})"), "the key vocab_size is required"));
  CHECK(has(refused(R"({"type":"ids","vocab_size":0})"), "vocab_size must be an integer from 1 to 2147483647"));
  CHECK(has(refused(R"({"type":"ids","vocab_size":2,"x":1})"), "unknown key \"x\""));
}

TEST_CASE("data set: a single text is what TokenData::open makes of it, with the same identity") {
  const TempFolder folder;
  const std::string path = folder.put("a.txt", "\xef\xbb\xbfthe cat and the dog").string();
  const TokenData want = TokenData::open(path, tokenizer_type("char"), Identify::yes);
  const TokenData found = open_data_set({.sources = {path}}, tokenizer_type("char"), Identify::yes);
  CHECK(ids_in(found, found.all()) == ids_in(want, want.all()));
  CHECK(found.train() == want.train());
  CHECK(found.text_id() == want.text_id());
  CHECK(identify_data({.sources = {path}}) == want.text_id());
  const DataSpec quarter{.sources = {path}, .valid = {.fraction = 0.25}};
  const TokenData split = open_data_set(quarter, tokenizer_type("char"), Identify::yes);
  CHECK(split.text_id() == want.text_id());
  CHECK(ids_in(split, split.all()) == ids_in(want, want.all()));
  CHECK(split.train().size() == 14);
  CHECK(split.targets(split.valid()) == split.valid());  // it continues the training part
}

TEST_CASE("data set: several sources, a validation source, a token behind each document") {
  const TempFolder folder;
  const std::string one = folder.put("a.txt", "one").string();
  const std::string tunes = folder.put("b.abc", "X:1\nX:2\n").string();
  const std::string valid = folder.put("v.txt", "vw").string();
  const DataSpec spec{.sources = {tunes, one},
                      .valid = {.kind = ValidChoice::Kind::sources, .sources = {valid}},
                      .document_token = "|"};
  const TokenData data = open_data_set(spec, tokenizer_type("char"), Identify::yes);
  CHECK(text_in(data, data.train()) == "X:1\n|X:2\n|one|");
  CHECK(text_in(data, data.valid()) == "vw|");
  CHECK(data.targets(data.valid()).size() == 2);  // the first has no predecessor
  CHECK(data.targets(data.train()).begin == 1);
  CHECK(EvalWindows(data, data.valid(), 2).target_count() == 2);
  CHECK(data.text_id()->bytes == 13);
  DataSpec other = spec;
  std::swap(other.sources[0], other.sources[1]);
  CHECK(identify_data(other).xxh3 != data.text_id()->xxh3);
  CHECK(identify_data(spec) == data.text_id());
  // With a vocabulary that exists, what it lacks is refused, left out or replaced.
  const TokenizerPtr letters = char_tokenizer("X:12\none|w", "letters");
  CHECK(has(error_of<MisfitError>([&] { open_data_set(spec, letters); }), "found 'v'"));
  const TokenData skipped = open_data_set(spec, letters, Identify::no, UnknownRule::skip());
  CHECK(text_in(skipped, skipped.valid()) == "w|");
  CHECK(skipped.misfits().count == 1);
  const DataSpec none{.sources = {tunes}, .valid = {.kind = ValidChoice::Kind::none}};
  const TokenData all = open_data_set(none, tokenizer_type("byte"));
  CHECK(all.valid().size() == 0);
  CHECK(all.train().size() == 8);
}

TEST_CASE("data set: twenty documents are split by document") {
  const TempFolder folder;
  std::string lines;
  for (int i = 0; i < 20; ++i) lines += std::string("{\"t\":\"") + static_cast<char>('a' + i) + "z\"}\n";
  const DataSpec spec{.sources = {folder.put("d.jsonl", lines).string()}, .reading = {.field = "t"}};
  const TokenData data = open_data_set(spec, tokenizer_type("char"));
  CHECK(text_in(data, data.valid()) == "ezoz");
  CHECK(data.train().size() == 36);
  CHECK(data.targets(data.valid()).size() == 3);
}

TEST_CASE("data set: ids have a vocabulary of their own, over both parts, or the one that is asked for") {
  const TempFolder folder;
  const std::string ids = folder.put("a.u8", "\1\2\3\4\5\6\7").string();
  const std::string valid = folder.put("v.u8", "\x09\1").string();
  const ValidChoice own{.kind = ValidChoice::Kind::sources, .sources = {valid}};
  CHECK(open_data_set({.sources = {ids}}, tokenizer_type("char")).tokenizer().vocab_size() == 8);
  CHECK(open_data_set({.sources = {ids}, .valid = own}, tokenizer_type("char")).tokenizer().vocab_size() == 10);
  CHECK(open_data_set({.sources = {ids}, .vocab = 70'000}, tokenizer_type("char")).tokenizer().vocab_size() == 70'000);
  const TokenData ended = open_data_set({.sources = {ids}, .document_token = "20"}, tokenizer_type("char"));
  CHECK(ended.tokenizer().vocab_size() == 21);
  CHECK(ids_in(ended, ended.all()).back() == 20);
  const std::string large = folder.put("l.u32", std::string("\1\0\1\0\2\0\1\0\3\0\1\0", 12)).string();
  const TokenData wide = open_data_set({.sources = {large}}, tokenizer_type("char"));
  CHECK(ids_in(wide, wide.all()) == TokenIds{65537, 65538, 65539});
  CHECK(has(error_of<FormatError>([&] { open_data_set({.sources = {ids}, .vocab = 6}, tokenizer_type("char")); }),
            "a.u8: every token must be below the vocabulary of 6; token 5 is 6; give data of that vocabulary"));
  CHECK(has(error_of<FormatError>([&] { open_data_set({.sources = {ids}}, ids_tokenizer(7)); }), "token 6 is 7"));
  CHECK(has(error_of<FormatError>([&] { open_data_set({.sources = {ids}}, byte_tokenizer()); }),
            "a.u8: the model reads text; the file holds token ids"));
  const std::string text = folder.put("t.txt", "some text").string();
  CHECK(has(error_of<FormatError>([&] { open_data_set({.sources = {text}}, ids_tokenizer(7)); }),
            "t.txt: the model reads token ids; the file holds text"));
}

TEST_CASE("data set: options that nothing needs, and document tokens that are none, are refused") {
  const TempFolder folder;
  const std::string text = folder.put("t.txt", "some text").string();
  const std::string ids = folder.put("a.u8", "\1\2\3").string();
  const auto refused = [&](const DataSpec& spec) {
    return error_of<ValueError>([&] { open_data_set(spec, tokenizer_type("char")); });
  };
  CHECK(refused({.sources = {text}, .reading = {.field = "a"}}) ==
        "--field cannot be given here: no source is JSON; leave it out");
  CHECK(has(refused({.sources = {text}, .reading = {.column = "a"}}), "no source is a table"));
  CHECK(has(refused({.sources = {ids}, .reading = {.codebooks = {0}}}), "no source is an array of codes"));
  CHECK(has(refused({.sources = {text}, .document_token = "ab"}), "must be one token of the vocabulary; got \"ab\""));
  CHECK(has(refused({.sources = {ids}, .document_token = "x"}), "must be an id from 0 to 3; got \"x\""));
  CHECK(has(refused({.sources = {ids}, .document_token = "9", .vocab = 5}), "must be an id from 0 to 4; got \"9\""));
}

}  // namespace
}  // namespace mixgrad
