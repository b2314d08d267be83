// What `mixgrad data prepare` does: nn/data/preparation/prepare.h with progress on stderr and a summary on stdout.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "apps/options/source_options.h"

namespace mixgrad::app {

struct DataPrepareOptions {
  std::vector<std::string> sources;
  SourceOptions source_options;
  std::string tokenizer;  // of text; "" = char
  std::string out;
  std::int64_t shard_tokens = 0;
  bool json = false;
};

// Errors as prepare_data; ValueError also for --tokenizer beside token ids.
void prepare_verb(const DataPrepareOptions& options);

}  // namespace mixgrad::app
