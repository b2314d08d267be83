// Windows cut where documents begin: every target once, in a row of its own document, behind nothing of another.
#include "nn/data/document_rows.h"

#include <doctest/doctest.h>

#include <map>
#include <span>
#include <utility>
#include <vector>

#include "core/allocator.h"
#include "core/error.h"
#include "core/rng.h"
#include "nn/data/data_set.h"
#include "nn/data/preparation/prepare.h"
#include "tests/support/temp_folder.h"

namespace mixgrad::test {
namespace {

struct Windows {
  Tensor tokens, targets;
};

// Random tokens of which about one in `spread` begins a document, and targets of which about one in four is none.
Windows random_windows(std::int64_t batch, std::int64_t steps, std::uint64_t spread, std::uint64_t seed) {
  Windows windows{Tensor::empty({batch, steps}, DType::i32), Tensor::empty({batch, steps}, DType::i32)};
  Rng rng(seed);
  for (std::int64_t i = 0; i < batch * steps; ++i) {
    windows.tokens.data<std::int32_t>()[i] = rng.below(spread) == 0 ? 5 : static_cast<std::int32_t>(6 + rng.below(9));
    windows.targets.data<std::int32_t>()[i] = rng.below(4) == 0 ? -1 : static_cast<std::int32_t>(rng.below(15));
  }
  return windows;
}

// Where the document begins that position t of row b stands in.
std::int64_t begin_of(const Windows& windows, std::int64_t b, std::int64_t t) {
  const std::int32_t* inputs = windows.tokens.data<std::int32_t>() + b * windows.tokens.dim(1);
  while (t > 0 && inputs[t] != 5) --t;
  return t;
}

void check_cut(const Windows& windows) {
  const std::int64_t steps = windows.tokens.dim(1);
  std::map<std::pair<std::int64_t, std::int64_t>, int> seen;  // row and position of each target
  std::int64_t longest = steps;
  for (const DocumentRows& rows : cut_at_documents(windows.tokens, windows.targets, 5)) {
    const std::int64_t length = rows.tokens.dim(1);
    CHECK(rows.tokens.numel() <= windows.tokens.numel());
    CHECK(rows.tokens.dim(0) == static_cast<std::int64_t>(rows.pieces.size()));
    CHECK(length <= longest);
    longest = length;
    for (std::size_t i = 0; i < rows.pieces.size(); ++i) {
      const DocumentPiece& piece = rows.pieces[i];
      const std::int32_t* inputs = rows.tokens.data<std::int32_t>() + static_cast<std::int64_t>(i) * length;
      const std::int32_t* wanted = rows.targets.data<std::int32_t>() + static_cast<std::int64_t>(i) * length;
      CHECK((length <= 16 || 4 * piece.length >= 3 * length));
      CHECK(wanted[piece.length - 1] >= 0);
      for (std::int64_t t = 0; t < length; ++t) {
        if (t >= piece.length) {
          CHECK(inputs[t] == 0);
          CHECK(wanted[t] == -1);
          continue;
        }
        const std::int64_t at = piece.row * steps + piece.first + t;
        CHECK(begin_of(windows, piece.row, piece.first + t) == piece.first);
        CHECK(inputs[t] == windows.tokens.data<std::int32_t>()[at]);
        CHECK(wanted[t] == windows.targets.data<std::int32_t>()[at]);
        if (wanted[t] >= 0) ++seen[{piece.row, piece.first + t}];
      }
    }
  }
  for (std::int64_t i = 0; i < windows.targets.numel(); ++i) {
    const bool wanted = windows.targets.data<std::int32_t>()[i] >= 0;
    CHECK(seen[{i / steps, i % steps}] == (wanted ? 1 : 0));
  }
}

}  // namespace

TEST_CASE("document rows: every target stands once, behind its own document alone, whatever the lengths") {
  for (const std::uint64_t spread : {1, 2, 5, 20, 1000}) {
    for (const std::int64_t steps : {1, 2, 17, 64}) {
      for (const std::int64_t batch : {1, 3, 8}) {
        INFO("a document in " << spread << " tokens, windows " << batch << " x " << steps);
        Windows windows = random_windows(batch, steps, spread, 100 * spread + static_cast<std::uint64_t>(steps));
        windows.targets.set(0, 3);  // at least one
        check_cut(windows);
      }
    }
  }
}

TEST_CASE("document rows: windows without a document begin give themselves, those without a target one token") {
  const Windows windows = random_windows(2, 9, 1000000, 3);
  windows.targets.fill(1);
  const std::vector<DocumentRows> whole = cut_at_documents(windows.tokens, windows.targets, 5);
  CHECK(whole.size() == 1);
  CHECK(whole[0].tokens.equal_bits(windows.tokens));
  CHECK(whole[0].targets.equal_bits(windows.targets));
  CHECK(whole[0].pieces == std::vector<DocumentPiece>{{0, 0, 9}, {1, 0, 9}});
  windows.targets.fill(-1);
  const std::vector<DocumentRows> none = cut_at_documents(windows.tokens, windows.targets, 5);
  CHECK(none.size() == 1);
  CHECK(none[0].tokens.shape() == Shape{1, 1});
  CHECK(none[0].targets.at(0) == -1);
}

TEST_CASE("document rows: a cutter that has cut other windows gives what a new one gives, and needs no more memory") {
  std::vector<Windows> batches;
  for (std::uint64_t seed = 0; seed < 8; ++seed) batches.push_back(random_windows(4, 32, 2 + 3 * seed, seed));
  DocumentCutter cutter;
  for (int round = 0; round < 3; ++round) {
    const std::int64_t before = pool_stats(kCpu).system_allocations;
    for (const Windows& windows : batches) cutter.cut(windows.tokens, windows.targets, 5);
    if (round > 0) CHECK(pool_stats(kCpu).system_allocations == before);  // the sizes of rows have all occurred
    for (const Windows& windows : batches) {
      const std::vector<DocumentRows> expected = cut_at_documents(windows.tokens, windows.targets, 5);
      const std::span<const DocumentRows> found = cutter.cut(windows.tokens, windows.targets, 5);
      REQUIRE(found.size() == expected.size());
      for (std::size_t g = 0; g < found.size(); ++g) {
        CHECK(found[g].tokens.equal_bits(expected[g].tokens));
        CHECK(found[g].targets.equal_bits(expected[g].targets));
        CHECK(found[g].pieces == expected[g].pieces);
      }
    }
  }
}

TEST_CASE("data set: --reset-state takes the document token, and is refused without one") {
  const TempFolder folder;
  folder.put("a.jsonl", "{\"t\": \"one\"}\n{\"t\": \"two\"}\n{\"t\": \"three\"}\n");
  DataSpec spec{.sources = {(folder / "a.jsonl").string()}, .reading = {.field = "t"}, .reset_state = true};
  CHECK_THROWS_WITH_AS(open_data_set(spec, tokenizer_type("char")),
                       "--reset-state needs the token at which documents begin; there is none; give --document-token "
                       "TOKEN, which puts one behind each document",
                       ValueError);
  spec.document_token = "\n";
  const TokenData data = open_data_set(spec, tokenizer_type("char"));
  CHECK(data.document_start() == data.tokenizer().id_of("\n"));
  spec.reset_state = false;
  CHECK_FALSE(open_data_set(spec, tokenizer_type("char")).document_start().has_value());
  folder.put("b.txt", "one text");
  CHECK_THROWS_AS(
      open_data_set({.sources = {(folder / "b.txt").string()}, .reset_state = true}, tokenizer_type("char")),
      ValueError);
}

TEST_CASE("prepared data: the manifest keeps the document token, which --reset-state takes") {
  const TempFolder folder;
  folder.put("a.jsonl", "{\"t\": \"one\"}\n{\"t\": \"two\"}\n{\"t\": \"three\"}\n");
  DataSpec spec{.sources = {(folder / "a.jsonl").string()}, .reading = {.field = "t"}, .document_token = "\n"};
  prepare_data({.spec = spec, .out = folder / "with"});
  spec.document_token = "";
  prepare_data({.spec = spec, .out = folder / "without"});
  const TokenData with =
      open_data_set({.sources = {(folder / "with").string()}, .reset_state = true}, tokenizer_type("char"));
  CHECK(with.document_start() == with.tokenizer().id_of("\n"));
  CHECK_FALSE(open_data_set({.sources = {(folder / "with").string()}}, tokenizer_type("char")).document_start());
  CHECK(TempFolder::get(folder / "without" / "manifest.json").find("document_token") == std::string::npos);
  const std::string error = error_of<ValueError>([&] {
    open_data_set({.sources = {(folder / "without").string()}, .reset_state = true}, tokenizer_type("char"));
  });
  CHECK(error == (folder / "without").string() +
                     ": --reset-state needs the token at which documents begin; the data have none; prepare them with "
                     "--document-token TOKEN");
}

}  // namespace mixgrad::test
