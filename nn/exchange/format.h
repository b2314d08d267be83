// The formats of models that mixgrad reads and writes beside its own: formats.def lists them. A format is a file
// NAME_format.cpp that defines built_in::NAME_format(). import.h and export.h are what programs call.
#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "nn/config/model_config.h"
#include "nn/exchange/tensor_recipe.h"
#include "nn/tokenizers/tokenizer.h"

namespace mixgrad {

// A model of another format, checked but for the values of its tensors, which read() fetches one at a time.
struct ForeignModel {
  std::string kind;                                // for people: "llama (LlamaForCausalLM)"
  ModelConfig config;                              // context 0: the model has none of its own
  TensorRecipes recipes;                           // of every parameter of `config`, in the order of the model
  std::function<Tensor(const TheirTensor&)> read;  // FormatError when the file is damaged
  std::filesystem::path tokenizer = {};            // where the source has one; empty: nowhere
  std::vector<std::string> decisions = {};         // whole sentences: what the source left open, and what was taken
};

// What a format is given to write. The tensors are those of model.safetensors, read one at a time.
struct ModelToExport {
  std::string name;  // of the checkpoint's folder
  ModelConfig config;
  std::function<Tensor(const std::string& parameter)> read;  // on the CPU, in the stored type
  TokenizerPtr tokenizer;
  std::string training = {};  // one sentence about the run that made it; "" when it is a model alone
};

struct ExchangeFormat {
  std::string name;     // of --format
  std::string summary;  // what it is, for help and errors
  // Whether the source, which exists, is of this format; not whether it is whole.
  std::function<bool(const std::filesystem::path& source)> holds;
  // FormatError, IoError for a source that is not whole or that a ModelConfig cannot express.
  std::function<ForeignModel(const std::filesystem::path& source)> open;
  // Writes the files into a folder that no other program sees yet and returns sentences about what was left out.
  // ValueError, before anything is written, when the format cannot express the model.
  std::function<std::vector<std::string>(const ModelToExport& model, const std::filesystem::path& folder)> write;
};

const std::vector<ExchangeFormat>& exchange_formats();           // in the order of formats.def
const ExchangeFormat& exchange_format(const std::string& name);  // ValueError: no such format
std::vector<std::string> exchange_format_names();

namespace built_in {
#define FORMAT(name) ExchangeFormat name##_format();
#include "nn/exchange/formats.def"
#undef FORMAT
}  // namespace built_in

}  // namespace mixgrad
