// Models of other programs as a folder of mixgrad: config.json, model.safetensors, tokenizer.json.
//
//   const ImportReport report = import_model({.source = "llama/", .out = "models/llama"});
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "nn/config/model_config.h"

namespace mixgrad {

inline constexpr const char* kNoTokenizer = "none";
inline constexpr std::int64_t kUsualContext = 2048;  // of a model that has none of its own, such as Mamba

struct ImportOptions {
  std::filesystem::path source = {};     // a folder or file of one of the formats (format.h)
  std::filesystem::path out = {};        // must not exist, or be an empty folder
  std::filesystem::path tokenizer = {};  // a file or folder for open_tokenizer; empty: that of the source; "none": none
  std::int64_t context = 0;              // 0: that of the source
};

struct ImportReport {
  std::string format, kind;  // "hf", "llama (LlamaForCausalLM)"
  ModelConfig config;
  std::int64_t parameters = 0;
  std::string weights = {};                 // types of the stored tensors: "F32", or "BF16, F32"
  std::string tokenizer = {};               // "llama2c, 512 tokens", or "none: token ids"
  std::vector<std::string> decisions = {};  // sentences: what the source left open, and what was taken
};

// Appears whole or not at all. FormatError: a source of no known form, one that is damaged, contradicts itself or
// cannot be expressed, weights that are not finite, a tokenizer with more tokens than the table. ValueError: `out`
// holds something, or the context is none that the model can have. IoError.
ImportReport import_model(const ImportOptions& options);

}  // namespace mixgrad
