// nn/data/prepare, prepared, token_shards: data in shards, made and read.
#include "nn/data/preparation/prepare.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <fstream>

#include "core/error.h"
#include "core/system/interrupt.h"
#include "nn/data/data_set.h"
#include "nn/data/prepared.h"
#include "nn/tokenizers/byte_tokenizer.h"
#include "nn/tokenizers/tokenizer_types.h"
#include "tests/support/close.h"
#include "tests/support/temp_folder.h"
#include "tests/support/text.h"

namespace mixgrad {
namespace {

namespace fs = std::filesystem;
using test::error_of;
using test::has;
using test::TempFolder;

std::vector<std::int32_t> all_ids(const TokenData& data) {
  std::vector<std::int32_t> ids(static_cast<std::size_t>(data.size()));
  data.gather(0, data.size(), ids.data());
  return ids;
}

// What prepare makes must be what opening the sources themselves gives.
void check_same_data(const TempFolder& folder, const DataSpec& spec, std::int64_t shard_tokens) {
  const fs::path out = folder / "out";
  const PreparedManifest manifest = prepare_data({.spec = spec, .out = out, .shard_tokens = shard_tokens});
  const TokenData want = open_data_set(spec, tokenizer_type("char"));
  const TokenData found = open_data_set({.sources = {out.string()}}, tokenizer_type("byte"), Identify::yes);
  CHECK(found.tokenizer() == want.tokenizer());
  CHECK(found.train() == want.train());
  CHECK(found.targets(found.valid()) == want.targets(want.valid()));
  CHECK(all_ids(found) == all_ids(want));
  CHECK(found.byte_count(found.valid()) == want.byte_count(want.valid()));
  CHECK(manifest.tokens == want.size());
  // Any piece, across the ends of shards.
  std::vector<std::int32_t> piece(7);
  const std::vector<std::int32_t> whole = all_ids(want);
  for (std::int64_t begin = 0; begin + 7 <= found.size(); ++begin) {
    found.gather(begin, 7, piece.data());
    REQUIRE(std::equal(piece.begin(), piece.end(), whole.begin() + begin));
  }
  CHECK(to_json(parse_manifest(to_json(manifest), "m")) == to_json(manifest));
  const std::string bytes = TempFolder::get(out / kManifestName);
  fs::remove_all(out);
  const test::OneThread one;
  prepare_data({.spec = spec, .out = out, .shard_tokens = shard_tokens});
  CHECK(TempFolder::get(out / kManifestName) == bytes);  // hashes of all shards among it
  fs::remove_all(out);
  CHECK_FALSE(fs::exists(folder / ".out.preparing"));
}

TEST_CASE("prepare: the shards are the data of the sources, in the same split") {
  const TempFolder folder;
  std::string lines, text;
  for (int i = 0; i < 45; ++i) {
    lines += "{\"t\":\"Grüße " + std::to_string(i) + "\"}\n";
    text += "the cat sat on mat number " + std::to_string(i * i) + "\n";
  }
  const std::string jsonl = folder.put("a.jsonl", lines).string();
  const std::string plain = folder.put("b.txt", text).string();
  const std::string ids = folder.put("c.u8", std::string(text)).string();
  check_same_data(folder, {.sources = {plain}}, 100);
  check_same_data(folder, {.sources = {plain}, .valid = {.fraction = 0.3}}, 1 << 20);
  check_same_data(folder, {.sources = {jsonl}, .reading = {.field = "t"}, .document_token = "\n"}, 64);
  check_same_data(folder, {.sources = {jsonl}, .reading = {.field = "t"}}, 1);
  check_same_data(folder,
                  {.sources = {plain, plain}, .valid = {.kind = ValidChoice::Kind::sources, .sources = {plain}}}, 1000);
  check_same_data(folder, {.sources = {plain}, .valid = {.kind = ValidChoice::Kind::none}}, 1000);
  check_same_data(folder, {.sources = {ids}}, 50);
  check_same_data(folder, {.sources = {ids}, .document_token = "70000"}, 50);
}

TEST_CASE("prepare: a text of many MiB is encoded in parts") {
  const TempFolder folder;
  std::string text;
  while (text.size() < (std::size_t{3} << 20U)) text += "αβγ text with letters of two bytes, ";
  const std::string path = folder.put("t.txt", text).string();
  std::uint64_t last = 0;
  prepare_data({.spec = {.sources = {path}}, .out = folder / "out", .progress = [&](const PrepareProgress& progress) {
                  CHECK(progress.all_bytes == text.size());
                  last = progress.bytes;
                }});
  CHECK(last == text.size());
  const TokenData want = TokenData::open(path, tokenizer_type("char"));
  CHECK(all_ids(open_prepared(folder / "out", Identify::yes)) == all_ids(want));
  text[2'000'001] = '\xff';
  const std::string broken = folder.put("b.txt", text).string();
  CHECK(has(error_of<FormatError>([&] {
              prepare_data({.spec = {.sources = {broken}}, .tokenizer = "byte", .out = folder / "bytes"});
              prepare_data({.spec = {.sources = {broken}}, .out = folder / "none"});
            }),
            "needs UTF-8 text"));
  CHECK(fs::exists(folder / "bytes"));
  CHECK_FALSE(fs::exists(folder / "none"));
}

TEST_CASE("prepare: what stops it leaves nothing") {
  const TempFolder folder;
  const std::string good = folder.put("a.jsonl", "{\"t\":\"one\"}\n{\"t\":\"two\"}\n").string();
  const std::string bad = folder.put("b.jsonl", "{\"t\":\"one\"}\n{\"t\":5}\n").string();
  const DataSpec spec{.sources = {good}, .reading = {.field = "t"}};
  const auto nothing_left = [&] { return !fs::exists(folder / "out") && !fs::exists(folder / ".out.preparing"); };
  CHECK(has(error_of<FormatError>([&] {
              prepare_data({.spec = {.sources = {good, bad}, .reading = {.field = "t"}}, .out = folder / "out"});
            }),
            "b.jsonl line 2: the field \"t\" must be a text"));
  CHECK(nothing_left());
  request_interrupt(15);
  CHECK_THROWS_AS(prepare_data({.spec = spec, .out = folder / "out"}), Interrupted);
  clear_interrupt();
  CHECK(nothing_left());
  fs::create_directories(folder / ".out.preparing");  // left by a run that was killed
  folder.put(".out.preparing/data-00000.u16", "half");
  prepare_data({.spec = spec, .out = folder / "out"});
  CHECK(fs::exists(folder / "out/data-00000.u16"));
  CHECK_FALSE(fs::exists(folder / ".out.preparing"));
  CHECK(has(error_of<ValueError>([&] { prepare_data({.spec = spec, .out = folder / "out"}); }),
            "out: must not exist; choose another folder, or remove that one (nothing was changed)"));
  const std::string one = folder.put("one.txt", "x").string();
  CHECK(has(error_of<FormatError>([&] { prepare_data({.spec = {.sources = {one}}, .out = folder / "o"}); }),
            "at least two tokens are required; there is one"));
}

TEST_CASE("prepared data: a manifest, tokenizer or shard that does not fit is refused") {
  const TempFolder folder;
  const std::string path = folder.put("t.txt", "the cat sat on the mat and the dog").string();
  const fs::path out = folder / "out";
  prepare_data({.spec = {.sources = {path}}, .out = out, .shard_tokens = 10});
  const std::string manifest = TempFolder::get(out / kManifestName);
  const auto refused = [&] { return error_of<FormatError>([&] { open_prepared(out, Identify::yes); }); };
  const auto with = [&](const std::string& from, const std::string& to) {
    std::string text = manifest;
    text.replace(text.find(from), from.size(), to);
    std::ofstream(out / kManifestName, std::ios::binary) << text;
    return refused();
  };
  CHECK(has(with("mixgrad-data-1", "other"), "format must be \"mixgrad-data-1\""));
  CHECK(has(with("\"width\": 2", "\"width\": 3"), "width must be 2 or 4"));
  CHECK(has(with("\"tokens\": 34", "\"tokens\": 35"), "tokens must be those of all shards, 34"));
  CHECK(has(with("data-00001.u16", "../t.txt"), "shards[1].file must be the name of a file in this folder"));
  CHECK(has(with("\"vocab_size\": 12", "\"vocab_size\": 11"), "the tokenizer must have the 11 tokens"));
  CHECK(has(with("\"rate\": 0", "\"rat\": 0"), "unknown key \"rat\""));
  CHECK(has(with("\"shards\": [", "\"shards\": [5,"), "shards[0] must be an object"));
  std::ofstream(out / kManifestName, std::ios::binary) << manifest;
  CHECK(refused().empty());
  const std::string shard = TempFolder::get(out / "data-00001.u16");
  const auto with_shard = [&](const std::string& content) {
    folder.put("out/data-00001.u16", content);
    return refused();
  };
  std::string other = shard;
  other[0] = static_cast<char>(other[0] ^ 1);
  CHECK(has(with_shard(other), "data-00001.u16: the content must be the one that the manifest names"));
  other[1] = '\x7f';
  CHECK(has(with_shard(other), "every token must be below the vocabulary of 12"));
  CHECK(has(with_shard(shard.substr(1)), "the manifest promises 10 tokens of 2 bytes; the file has 19 bytes"));
  CHECK(has(with_shard(shard), ""));
  const std::string tokenizer = TempFolder::get(out / "tokenizer.json");
  folder.put("out/tokenizer.json", tokenizer + " ");
  CHECK(has(refused(), "the tokenizer must be the one that the manifest names"));
  folder.put("out/tokenizer.json", tokenizer);
  fs::rename(out / "data-00002.u16", folder / "moved");
  CHECK(has(error_of<IoError>([&] { open_prepared(out, Identify::no); }), "No such file"));
}

TEST_CASE("prepared data: a shard that is overwritten while it is read is an error; renamed over, it is not") {
  const TempFolder folder;
  const std::string path = folder.put("t.txt", "the cat sat on the mat and the dog").string();
  const fs::path out = folder / "out";
  prepare_data({.spec = {.sources = {path}}, .out = out, .shard_tokens = 10});
  const TokenData data = open_prepared(out, Identify::yes);
  const std::vector<std::int32_t> want = all_ids(data);
  const auto later = [&](int seconds) {
    fs::last_write_time(out / "data-00001.u16",
                        fs::last_write_time(out / "data-00001.u16") + std::chrono::seconds(seconds));
  };
  later(1);
  CHECK(all_ids(data) == want);  // the same content
  std::fstream(out / "data-00001.u16", std::ios::in | std::ios::out) << '\1';
  later(2);
  CHECK(
      has(error_of<IoError>([&] { all_ids(data); }), "data-00001.u16: the shard must stay as it is while it is read"));
  const TokenData again = open_prepared(out, Identify::no);
  folder.put("new", "12345678901234567890");
  fs::rename(folder / "new", out / "data-00000.u16");
  CHECK_NOTHROW(all_ids(again));
}

TEST_CASE("prepared data: other sources and options beside them, and another tokenizer, are refused") {
  const TempFolder folder;
  const std::string path = folder.put("t.txt", "the cat sat on the mat and the dog").string();
  const std::string out = (folder / "out").string();
  prepare_data({.spec = {.sources = {path}}, .out = out});
  const auto refused = [&](const DataSpec& spec) {
    return error_of<ValueError>([&] { open_data_set(spec, tokenizer_type("char")); });
  };
  CHECK(has(refused({.sources = {path, out}}), "a folder of data prepare must be the only source"));
  CHECK(has(refused({.sources = {out}, .valid = {.fraction = 0.2}}), "has a split of its own"));
  CHECK(has(refused({.sources = {out}, .reading = {.field = "x"}}), "has been read already"));
  CHECK(has(error_of<FormatError>([&] { open_data_set({.sources = {out}}, byte_tokenizer()); }),
            "must have been prepared with the tokenizer of the checkpoint"));
}

}  // namespace
}  // namespace mixgrad
