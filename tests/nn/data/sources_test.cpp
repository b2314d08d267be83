// nn/data/sources, nn/data/documents: which files a source means, and what is read from them.
#include "nn/data/sources.h"

#include <doctest/doctest.h>

#include <cmath>
#include <filesystem>

#include "core/error.h"
#include "nn/data/documents.h"
#include "nn/tokenizers/byte_tokenizer.h"
#include "tests/support/temp_folder.h"
#include "tests/support/text.h"

namespace mixgrad {
namespace {

namespace fs = std::filesystem;
using test::error_of;
using test::has;
using test::TempFolder;
using Names = std::vector<std::string>;

Names names_of(const SourceList& list, const TempFolder& folder) {
  Names names;
  for (const SourceFile& file : list.files) names.push_back(file.path.lexically_relative(folder.path()).string());
  return names;
}

TEST_CASE("sources: files, folders and globs, in order, without hidden and unknown binary files") {
  const TempFolder folder;
  fs::create_directories(folder / "d/b");
  fs::create_directories(folder / "d/.git");
  folder.put("d/b.txt", "1");
  folder.put("d/a.txt", "2");
  folder.put("d/b/z", "3");
  folder.put("d/B.md", "4");
  folder.put("d/.hidden.txt", "5");
  folder.put("d/.git/x.txt", "6");
  folder.put("d/image", std::string_view("\x89PNG\0", 5));
  folder.put("z.txt", "7");
  fs::create_directory_symlink(folder / "d", folder / "d/loop");
  fs::create_symlink(folder / "none", folder / "d/b/nothing.txt");
  const std::string d = (folder / "d").string();
  const SourceList list = find_sources({(folder / "z.txt").string(), d});
  CHECK(names_of(list, folder) == Names{"z.txt", "d/B.md", "d/a.txt", "d/b.txt", "d/b/z"});
  CHECK(list.hidden == 2);
  CHECK(list.binary == 1);
  CHECK(list.links == 1);
  CHECK(list.special == 1);
  CHECK(list.left_out() == 5);
  CHECK(list.left_out_text() == " (2 hidden, 1 unknown binary and 1 special files and 1 link to a folder left out)");
  SourceList twice = find_sources({d});
  twice.count_left_out_of(list);
  CHECK(twice.left_out() == 10);
  CHECK(SourceList{.files = {}, .links = 2}.left_out_text() == " (2 links to folders left out)");
  CHECK(SourceList{.files = {}, .special = 1}.left_out_text() == " (1 special file left out)");
  CHECK(SourceList{}.left_out_text().empty());
  CHECK(names_of(find_sources({d + "/*.txt"}), folder) == Names{"d/a.txt", "d/b.txt"});
  CHECK(names_of(find_sources({d + "/[ab]*"}), folder) == Names{"d/a.txt", "d/b.txt", "d/b/z"});
  CHECK(names_of(find_sources({d + "/image"}), folder) == Names{"d/image"});  // named itself: bytes
  folder.put("d/[x].txt", "a file of that name is no pattern");
  CHECK(names_of(find_sources({d + "/[x].txt"}), folder) == Names{"d/[x].txt"});
}

TEST_CASE("sources: what is missing, empty or of two kinds is refused") {
  const TempFolder folder;
  fs::create_directories(folder / "empty");
  fs::create_directories(folder / "binary");
  folder.put("binary/.h", "x");
  folder.put("binary/b", std::string_view("\0\1", 2));
  folder.put("a.txt", "a");
  folder.put("b.u16", "ab");
  const auto path = [&](const char* name) { return (folder / name).string(); };
  CHECK(has(error_of<FormatError>([&] { find_sources({path("empty")}); }),
            "at least one file to read is required; there is none; give files"));
  CHECK(has(error_of<FormatError>([&] { find_sources({path("binary")}); }),
            "there is none (1 hidden and 1 unknown binary files left out)"));
  CHECK(has(error_of<IoError>([&] { find_sources({path("*.none")}); }), "*.none: a readable file is required"));
  CHECK(has(error_of<IoError>([&] { find_sources({path("none.txt")}); }), "No such file"));
  CHECK(has(error_of<FormatError>([&] {
              find_sources({path("a.txt"), path("b.u16")});
            }),
            "b.u16: all sources must hold text, or all of them token ids; this one is 16-bit tokens"));
}

std::string sound(int rate) {
  std::string file = std::string("RIFF") + '\x26' + std::string(3, '\0') + "WAVEfmt " + '\x10' + std::string(3, '\0');
  file += std::string("\x01\x00\x01\x00", 4) + static_cast<char>(rate & 0xff) + static_cast<char>(rate >> 8) +
          std::string(2, '\0') + std::string(4, '\0') + std::string("\x02\x00\x10\x00", 4);
  return file + "data" + '\x02' + std::string(3, '\0') + std::string(2, '\0');
}

TEST_CASE("documents: of several files, encoded one by one, with a token behind each") {
  const TempFolder folder;
  folder.put("a.abc", "X:1\nX:2\n");
  folder.put("b.txt", "bb");
  const Documents documents = read_documents(find_sources({folder.path().string()}), {});
  CHECK(documents.text == "X:1\nX:2\nbb");
  CHECK(documents.ends == std::vector<std::int64_t>{4, 8, 10});
  CHECK(has(documents.source, "a.abc and 1 more file"));
  const EncodedDocuments encoded = encode_documents(documents, byte_tokenizer().get(), 7);
  CHECK(encoded.ends == std::vector<std::int64_t>{5, 10, 13});
  CHECK(encoded.ids[4] == 7);
  CHECK(encoded.ids[12] == 7);
  CHECK(encoded.ids[10] == 'b');
}

TEST_CASE("documents: ids have the largest vocabulary, sound one rate, train and valid one kind") {
  const TempFolder folder;
  folder.put("a.u8", "\x01\x09");
  folder.put("b.u16", std::string_view("\x03\x01", 2));
  const Documents ids = read_documents(find_sources({(folder / "a.u8").string(), (folder / "b.u16").string()}), {});
  CHECK(ids.vocabulary == 260);
  CHECK(ids.ids == std::vector<std::int32_t>{1, 9, 259});
  const std::string slow = folder.put("a.wav", sound(8000)).string();
  const std::string quick = folder.put("b.wav", sound(16000)).string();
  const Documents one = read_documents(find_sources({slow}), {});
  CHECK(one.vocabulary == 256);
  CHECK(one.rate == 8000);
  CHECK(has(error_of<FormatError>([&] {
              read_documents(find_sources({slow, quick}), {});
            }),
            "b.wav: sound must have one rate; this file has 16000 samples a second, those before it 8000"));
  const Documents other = read_documents(find_sources({quick}), {});
  CHECK(has(error_of<FormatError>([&] { require_same_kind(one, other); }), "b.wav: sound must have one rate"));
  folder.put("t.txt", "text");
  const Documents text = read_documents(find_sources({(folder / "t.txt").string()}), {});
  CHECK(has(error_of<FormatError>([&] { require_same_kind(ids, text); }), "holds token ids, this one text"));
}

EncodedDocuments documents_of(std::int64_t count, std::int64_t length) {
  EncodedDocuments all;
  for (std::int64_t i = 0; i < count * length; ++i) all.ids.push_back(static_cast<std::int32_t>(i / length));
  for (std::int64_t d = 1; d <= count; ++d) all.ends.push_back(d * length);
  return all;
}

TEST_CASE("documents: a split keeps whole documents, spread evenly, from twenty on") {
  const SplitDocuments split = split_documents(documents_of(40, 3), 0.1);
  CHECK(split.valid.ids == std::vector<std::int32_t>{4, 4, 4, 14, 14, 14, 24, 24, 24, 34, 34, 34});
  CHECK(split.train.ids.size() == 108);
  CHECK(split.train.ends.size() == 36);
  for (const double fraction : {0.01, 0.05, 0.3, 0.5, 0.99}) {
    std::int64_t chosen = 0;
    for (std::int64_t i = 0; i < 1000; ++i) chosen += is_validation_document(i, fraction) ? 1 : 0;
    CHECK(chosen == std::llround(1000 * fraction));
  }
}

TEST_CASE("documents: fewer are cut at the token, floor((1 - f) n) as a text is") {
  const SplitDocuments split = split_documents(documents_of(3, 5), 0.1);
  CHECK(split.train.ids.size() == 13);
  CHECK(split.valid.ids == std::vector<std::int32_t>{2, 2});
  CHECK(split.train.ends == std::vector<std::int64_t>{5, 10, 13});
  CHECK(split.valid.ends == std::vector<std::int64_t>{2});
  for (std::int64_t n = 0; n < 200; ++n) CHECK(training_tokens(n, 0.1) == n / 10 * 9 + n % 10 * 9 / 10);
  CHECK(training_tokens(INT64_C(4'000'000'000'000'000'000), 0.5) == INT64_C(2'000'000'000'000'000'000));
}

}  // namespace
}  // namespace mixgrad
