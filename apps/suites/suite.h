// Suites of questions that a model is scored on: `eval --suite NAME --data FILE`.
//
//   const Suite& suite = suite_by_name("blimp");
//   for (const SuiteRow& row : suite.run(input)) table.add(row);
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "apps/output/table.h"
#include "nn/model/decoder.h"
#include "nn/tokenizers/misfits.h"
#include "nn/tokenizers/tokenizer.h"

namespace mixgrad::app {

struct SuiteInput {
  const Decoder& model;
  const Tokenizer& tokenizer;
  std::string file;
  UnknownRule unknown = {};
  std::int64_t batch = 16;  // texts at a time
  // Of suites that generate:
  std::int64_t tokens = 200;
  double temperature = 1;
  std::uint64_t seed = 1;
};

struct SuiteTable {
  std::vector<TableColumn> columns;
  std::vector<std::vector<TableCell>> rows;
};

struct Suite {
  std::string name = {};   // as in suites.def
  std::string what = {};   // for people: "the last word of a passage"
  bool generates = false;  // it continues texts: --tokens, --temperature and --seed have an effect
  // FormatError for a file that is none of this suite, naming the line; IoError; NotFinite.
  SuiteTable (*run)(const SuiteInput& input) = nullptr;
};

const std::vector<Suite>& suites();                 // in the order of suites.def
const Suite& suite_by_name(std::string_view name);  // one that exists
std::vector<std::string> suite_names();

// For the suites. The tokens of a text at `place` in the file, of characters that the vocabulary lacks as `unknown` has
// it. FormatError for such characters, when they are refused, or when no token is left.
std::vector<std::int32_t> suite_tokens(const SuiteInput& input, const std::string& text, const std::string& place);
// What stands before a text that has nothing before it: the tokenizer's start or end token, else a line end, else the
// first token.
std::vector<std::int32_t> suite_start(const Tokenizer& tokenizer);
// The lines of a file with their numbers; without line ends, blank ones left out.
struct NumberedLine {
  std::string text, place;  // "FILE line 3"
};
std::vector<NumberedLine> suite_lines(const std::string& file);

}  // namespace mixgrad::app
