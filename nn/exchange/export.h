// A model of mixgrad in the format of another program.
//
//   export_model({.checkpoint = "runs/char", .format = "hf", .out = "char-hf"});
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "nn/config/model_config.h"

namespace mixgrad {

struct ExportOptions {
  std::filesystem::path checkpoint = {};  // a run, or one generation of it
  std::string format = {};                // a name of exchange_format_names()
  std::filesystem::path out = {};         // must not exist, or be an empty folder
};

struct ExportReport {
  std::string checkpoint;  // the generation
  ModelConfig config;
  std::int64_t parameters = 0;
  std::vector<std::string> files = {};  // names within `out`, sorted
  std::vector<std::string> notes = {};  // sentences: as what it was written, what was left out
};

// Appears whole or not at all. ValueError: the format cannot express the model (with the layers or choices that stand
// in the way), no such format, `out` holds something. FormatError, IoError as load_checkpoint.
ExportReport export_model(const ExportOptions& options);

}  // namespace mixgrad
