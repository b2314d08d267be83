// llama2.c: one file, model.bin, and beside it tokenizer.bin.
#include <memory>
#include <system_error>

#include "core/error.h"
#include "core/text/suggest.h"
#include "nn/exchange/format.h"
#include "nn/exchange/llama2c/llama2c_file.h"
#include "nn/exchange/tokenizer_export.h"

namespace mixgrad {
namespace {

namespace fs = std::filesystem;

bool holds_llama2c(const fs::path& source) {
  std::error_code error;
  if (!fs::is_regular_file(source, error)) return false;
  const MappedFile file = MappedFile::open(source);
  return begins_llama2c_model(file.text()) || begins_later_llama2c_model(file.text());
}

ForeignModel open_llama2c(const fs::path& source) {
  MappedFile mapped = MappedFile::open(source);
  if (begins_later_llama2c_model(mapped.text())) {
    raise<FormatError>(mapped.path(), ": a llama2.c checkpoint must be of version 0; this one is of a later version; ",
                       "write it again as version 0 with llama2.c's export.py");
  }
  const auto file = std::make_shared<Llama2cFile>(Llama2cFile::parse(std::move(mapped)));
  ForeignModel model;
  model.kind = "llama2.c, version 0";
  model.config = file->config();
  model.recipes = llama2c_recipes(model.config);
  model.read = [file](const TheirTensor& part) { return file->read(part); };
  model.decisions.emplace_back("norm_eps is 1e-05 and rope_theta 10000, as run.c has them");
  return model;
}

std::vector<std::string> write_llama2c_folder(const ModelToExport& model, const fs::path& folder) {
  const std::string objection = llama2c_objection(model.config);
  if (!objection.empty()) {
    raise<ValueError>("export: ", model.name, " must be a model that llama2.c can compute: ", objection,
                      " (nothing was written)");
  }
  std::vector<std::string> notes;
  const auto read = [&](const std::string& parameter) {
    Tensor tensor = model.read(parameter);
    if (tensor.dtype() == DType::f64 && notes.empty()) {
      notes.emplace_back("the weights, which are F64, were rounded to float32, the only type of llama2.c");
    }
    return tensor;
  };
  write_llama2c(folder / "model.bin", model.config, read);
  const ExpressedTokenizer expressed = llama2c_form(*model.tokenizer);
  if (expressed.content.empty()) {
    notes.push_back("no tokenizer.bin was written: " + expressed.reason);
  } else {
    write_file_once(folder / "tokenizer.bin", expressed.content);
  }
  return notes;
}

}  // namespace

ExchangeFormat built_in::llama2c_format() {
  return {.name = "llama2c",
          .summary = "a checkpoint of llama2.c, version 0",
          .holds = holds_llama2c,
          .open = open_llama2c,
          .write = write_llama2c_folder};
}

}  // namespace mixgrad
