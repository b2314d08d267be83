// What `mixgrad data show` prints.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "apps/options/source_options.h"

namespace mixgrad::app {

struct DataReportOptions {
  std::vector<std::string> sources;
  SourceOptions source_options;
  std::string tokenizer;                          // of text; "" = char
  std::int64_t first_train = 0, first_valid = 0;  // symbols; 0 = all
  bool json = false;
};

// Errors as find_sources, read_documents and Tokenizer::encode_into; ValueError also for --tokenizer beside ids, and
// for parts that --first makes longer than they are.
void show_data(const DataReportOptions& options);

}  // namespace mixgrad::app
