// The block sizes of kernels stand in NAME_blocks.h or NAME_block_sizes.h, where the cases of the operator read them
// and cross each. This test finds a number in a kernel that stands elsewhere.
#include <doctest/doctest.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <regex>
#include <set>
#include <string>

#include "ops/cases/cases.h"
#include "tests/support/temp_folder.h"

namespace {
namespace fs = std::filesystem;

// Numbers of ops/ at which no kernel changes its way along an axis of an operator, with what they are.
const std::map<std::string, std::string> kOthers{
    {"kAhead", "loads that a lane has in flight"},
    {"kBiasThreads", "threads of a block"},
    {"kBuiltInOperators", "a count"},
    {"kCandidates", "algorithms that are timed"},
    {"kColumnWarps", "warps of a block"},
    {"kCopyRegisters", "registers of a thread"},
    {"kDrawn", "random numbers that an input repeats"},
    {"kDropoutBlocks", "computed together; dropout has a case with more elements in a row"},
    {"kFew", "columns; a wide product of few rows is tested in matvec_test.cpp"},
    {"kFewWarps", "warps of a block"},
    {"kFewestRows", "decides how many blocks are launched; matmul_narrow_test.cpp has rows on both sides"},
    {"kFewest", "results that a comparison of algorithms needs"},
    {"kFirstCotangent", "a seed"},
    {"kFusedThreads", "threads of a block"},
    {"kGroupRows", "checked against kAttentionTileRows by a static_assert"},
    {"kGroupThreads", "threads of a warp group"},
    {"kGroup", "rows of a micro kernel reached from one address"},
    {"kJoinThreads", "threads of a block"},
    {"kLaneMultiple", "padding; its multiple kScanBlockChannels is published"},
    {"kLanes", "threads of a row of a tile of kAttentionTileRows"},
    {"kLeastWarps", "warps of a block; attention_step_test.cpp has heads on both sides"},
    {"kLineBytes", "a cache line"},
    {"kLongSequence", "tokens of a law"},
    {"kMaxCalls", "calls of a timed round"},
    {"kMaxParts", "inputs of concat_heads, each with a case"},
    {"kMixThreads", "threads of a block"},
    {"kMixWarps", "warps of a block, each with its part of kShiftMixSumRows"},
    {"kMmaColumns", "of an instruction"},
    {"kMmaRows", "of an instruction; matmul_narrow_test.cpp has columns on both sides"},
    {"kManyWarps", "warps of a block"},
    {"kMostBatch", "blocks of a launch along one axis"},
    {"kMostBlocks", "blocks of a launch along one axis"},
    {"kMostColumnBlocks", "blocks of a launch along one axis"},
    {"kMostBytes", "of shared memory; mamba_step_test.cpp has heads on both sides"},
    {"kMostGathered", "heads; beyond it separate operators run"},
    {"kMostNormed", "channels; normed_linear_test.cpp has rows on both sides"},
    {"kMostRows", "of a cache that is counted in 32 bits"},
    {"kMostSegmentedBlocks", "blocks of a launch"},
    {"kMostStates", "states of a thread; mamba_step_test.cpp has 3, 4, 5 and 8"},
    {"kHeldThreads", "checked against linear_cross_entropy_blocks.h by a static_assert"},
    {"kUsualTaps", "taps of a convolution; mamba_step_test.cpp has 4 and 6"},
    {"kMostTaps", "registers of a thread for the taps of a convolution"},
    {"kMovingTable", "positions of a table of angles; rope_test.cpp crosses it"},
    {"kMultiprocessors", "of a device; decides how many blocks are launched"},
    {"kOwn", "states of a thread, which has 4, 8 or 16 of them; each has a case"},
    {"kPanelColumns", "columns of a panel of a tile; every width of a head has whole panels"},
    {"kPanelRowBytes", "the same in bytes"},
    {"kRounds", "of Philox"},
    {"kRowTile", "of the product through Eigen, as kProductRows"},
    {"kRowWarps", "warps of a block of kNarrowRows"},
    {"kRowsOfLane", "registers of a lane"},
    {"kScanChunk", "published by selective_scan_blocks.h"},
    {"kScanThreads", "threads of a block"},
    {"kStepThreads", "threads of a block"},
    {"kSide", "of a tile of a narrow product; matmul_narrow_test.cpp has sizes on both sides"},
    {"kStretch", "tokens of a law"},
    {"kStretches", "of a block, each with its tokens; cases have 1 to 33 of them"},
    {"kTasks", "tasks of a product, which keep its tiles"},
    {"kTilesTogether", "tiles of a head; decides how many blocks are launched"},
    {"kTileK", "checked against product_blocks.h by a static_assert"},
    {"kTileSide", "checked against product_blocks.h by a static_assert"},
    {"kTimedRuns", "a count"},
    {"kTogether", "rows that a block reads at once; attention_step_test.cpp has caches with parts of them"},
    {"kUnroll", "steps of a loop, a divisor of kProductInner"},
    {"kWantedBlocks", "decides how many blocks are launched"},
    {"kVecThreads", "threads of a block"},
    {"kValueLaws", "a count"},
    {"kVectors", "vectors of a micro kernel, whose columns are published"},
    {"kWarmup", "untimed rounds"},
    {"kWarps", "warps of a tile of kAttentionTileRows"},
    {"kWholeTable", "positions of a table of angles; a case of rope crosses it"},
    {"kWide", "columns; a wide product of few rows is tested in matvec_test.cpp"},
};

// "file:name" of every constant that is a plain number, in the files below `folder` that publish no sizes.
std::set<std::string> numbers_in(const fs::path& folder) {
  static const std::regex number(R"(constexpr (int|unsigned|std::u?int64_t|std::size_t) (k\w+) = \d+;)");
  std::set<std::string> found;
  for (const fs::directory_entry& entry : fs::recursive_directory_iterator(folder)) {
    const std::string file = entry.path().filename().string();
    if (file.ends_with("_blocks.h") || file.ends_with("_block_sizes.h") || file.ends_with("_cases.cpp")) {
      if (file != "attention_blocks.h") continue;  // blocks of rows, not their sizes
    }
    if (!entry.is_regular_file()) continue;
    std::ifstream in(entry.path());
    for (std::string line; std::getline(in, line);) {
      std::smatch match;
      if (std::regex_search(line, match, number)) found.insert(file + ":" + match[2].str());
    }
  }
  return found;
}

// Whether some cases below `folder` include this header.
bool cases_include(const fs::path& folder, const std::string& header) {
  for (const fs::directory_entry& entry : fs::recursive_directory_iterator(folder)) {
    const std::string text =
        entry.path().string().ends_with("_cases.cpp") ? mixgrad::test::TempFolder::get(entry.path()) : std::string();
    if (text.find("/" + header + "\"") != std::string::npos) return true;
  }
  return false;
}

std::string name_of(const std::string& found) { return found.substr(found.find(':') + 1); }

}  // namespace

TEST_CASE("house: a block size of a kernel is published, so that cases cross it") {
  std::set<std::string> seen;
  for (const std::string& found : numbers_in(fs::path(MIXGRAD_SOURCE_DIR) / "ops")) {
    seen.insert(name_of(found));
    CHECK_MESSAGE(kOthers.count(name_of(found)) == 1,
                  found << ": publish it in NAME_blocks.h if a kernel changes its way there, else say here what it is");
  }
  CHECK(seen.size() > 15);  // the pattern finds what it looks for
}

TEST_CASE("house: what a header publishes is read by cases") {
  const fs::path ops = fs::path(MIXGRAD_SOURCE_DIR) / "ops";
  int headers = 0;
  for (const fs::directory_entry& entry : fs::recursive_directory_iterator(ops)) {
    const std::string file = entry.path().filename().string();
    const bool publishes = file.ends_with("_blocks.h") || file.ends_with("_block_sizes.h");
    if (!publishes || file == "attention_blocks.h") continue;
    CHECK_MESSAGE(cases_include(ops, file), file << ": no cases cross the blocks that it publishes");
    ++headers;
  }
  CHECK(headers >= 6);
}

TEST_CASE("house: an unpublished block size is found") {
  const mixgrad::test::TempFolder folder;
  const fs::path& root = folder.path();
  fs::create_directories(root / "scan");
  std::ofstream(root / "scan/scan.cu") << "inline constexpr int kTokensOfABlock = 48;  // of a block\n";
  std::ofstream(root / "scan/scan_blocks.h") << "inline constexpr int kPublished = 48;\n";
  CHECK(numbers_in(root) == std::set<std::string>{"scan.cu:kTokensOfABlock"});
}

TEST_CASE("house: every published block is crossed by three cases of its operator") {
  using namespace mixgrad::test;  // NOLINT(google-build-using-namespace)
  int crossed = 0;
  for (const OperatorCases& entry : all_cases().first(kBuiltInOperators)) {
    const OpCases all = entry.make();
    for (const mixgrad::BlockSize& block : all.block_sizes) {
      for (const std::int64_t size : {block.size - 1, block.size, block.size + 1}) {
        const std::string note = std::to_string(size) + " " + block.axis + ", around a block of a kernel";
        int found = 0;
        for (const OpCase& c : all.cases) found += c.note == note ? 1 : 0;
        INFO(entry.spec->name);
        CHECK_MESSAGE(found == 1, note);
        ++crossed;
      }
    }
  }
  CHECK(crossed > 100);
}
