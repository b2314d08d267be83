#include "nn/exchange/import.h"

#include <algorithm>
#include <set>
#include <system_error>

#include "core/error.h"
#include "core/numeric/unsigned_nan.h"
#include "core/text/plural.h"
#include "core/text/suggest.h"
#include "nn/exchange/foreign_source.h"
#include "nn/exchange/format.h"
#include "nn/files/folder.h"
#include "nn/modules/finite_values.h"
#include "nn/tokenizers/ids_tokenizer.h"
#include "nn/tokenizers/tokenizer_files.h"
#include "nn/training/checkpoint.h"

namespace mixgrad {
namespace {

namespace fs = std::filesystem;

const ExchangeFormat& format_of(const fs::path& source) {
  std::error_code error;
  if (!fs::exists(source, error)) {
    raise<IoError>(source.empty() ? "\"\"" : source.string(),
                   ": a folder or file with a model is required; there is none; check the path");
  }
  for (const ExchangeFormat& format : exchange_formats()) {
    if (format.holds(source)) return format;
  }
  refuse_source(source);
}

void set_context(ForeignModel& model, std::int64_t context) {
  const std::int64_t own = model.config.context;
  if (own == 0) {
    model.config.context = context == 0 ? kUsualContext : context;
    if (context == 0) {
      model.decisions.push_back("the model has no context of its own; it is " + std::to_string(kUsualContext) +
                                "; --context gives another one");
    }
    return;
  }
  if (context == 0 || context == own) return;
  if (model.config.positions == Positions::learned) {
    raise<ValueError>("--context must be ", own, ", for which the model has learned positions; got ", context,
                      "; leave it out");
  }
  if (context > own) {
    raise<ValueError>("--context must be at most ", own, ", for which the model was made; got ", context,
                      "; give a smaller one, or leave it out");
  }
  model.config.context = context;
}

TokenizerPtr tokenizer_for(const ImportOptions& options, ForeignModel& model) {
  const bool none = options.tokenizer == kNoTokenizer;
  const fs::path path = options.tokenizer.empty() ? model.tokenizer : options.tokenizer;
  if (none || path.empty()) {
    model.decisions.emplace_back(
        none ? "there is no tokenizer: data are token ids, such as tokens.u16"
             : "the source has no tokenizer: data are token ids, such as tokens.u16; --tokenizer gives one");
    return ids_tokenizer(model.config.vocab_size);
  }
  TokenizerPtr tokenizer;
  try {
    tokenizer = open_tokenizer(path);
  } catch (const FormatError& error) {
    if (!options.tokenizer.empty()) throw;
    raise<FormatError>(error.what(), "; --tokenizer gives another one, --tokenizer ", kNoTokenizer, " imports without");
  }
  if (tokenizer->vocab_size() > model.config.vocab_size) {
    raise<FormatError>(path.string(), ": the tokenizer must have at most ", model.config.vocab_size,
                       " tokens, the rows of the model's table; it has ", tokenizer->vocab_size(),
                       "; give the tokenizer of this model");
  }
  if (tokenizer->vocab_size() < model.config.vocab_size) {
    model.decisions.push_back("the table has " + std::to_string(model.config.vocab_size) + " rows, the tokenizer " +
                              count_text(tokenizer->vocab_size(), "token") + "; the rows above are never drawn");
  }
  return tokenizer;
}

std::string described(const Tokenizer& tokenizer, const fs::path& path) {
  if (!tokenizer.is_text()) return "none: token ids";
  std::string text = count_text(tokenizer.vocab_size(), "token") + ", from " + path.string();
  const SpecialTokens special = tokenizer.special_tokens();
  if (special.start) text += ", start " + std::to_string(*special.start);
  if (special.end) text += ", end " + std::to_string(*special.end);
  return text;
}

std::vector<std::pair<std::string, Tensor>> assemble_all(const ForeignModel& model, const fs::path& source) {
  std::vector<std::pair<std::string, Tensor>> tensors;
  for (const TensorRecipe& recipe : model.recipes) {
    const auto read = [&](const TheirTensor& part) {
      const Tensor tensor = model.read(part);
      const std::int64_t at = first_not_finite(tensor);
      if (at >= 0) {
        raise<FormatError>(source.string(), ": every weight must be finite; element ", at, " of ", quote(part.name),
                           " is ", unsigned_nan(tensor.at(at)), "; take another copy of the model");
      }
      return tensor;
    };
    tensors.emplace_back(recipe.ours, assemble(recipe, read));
  }
  return tensors;
}

}  // namespace

ImportReport import_model(const ImportOptions& options) {
  require_free_folder(options.out);
  const ExchangeFormat& format = format_of(options.source);
  ForeignModel model = format.open(options.source);
  set_context(model, options.context);
  const TokenizerPtr tokenizer = tokenizer_for(options, model);
  const auto tensors = assemble_all(model, options.source);
  ImportReport report{.format = format.name, .kind = model.kind, .config = model.config};
  std::set<std::string> types;
  for (const auto& item : tensors) {
    report.parameters += item.second.numel();
    types.insert(item.second.dtype() == DType::bf16 ? "BF16" : item.second.dtype() == DType::f64 ? "F64" : "F32");
  }
  report.weights = join({types.begin(), types.end()});
  report.tokenizer = described(*tokenizer, options.tokenizer.empty() ? model.tokenizer : options.tokenizer);
  report.decisions = model.decisions;
  ScratchFolder scratch(options.out, "another mixgrad import");
  write_model(scratch.path(), model.config, *tokenizer, tensors);
  scratch.move_into_place();
  return report;
}

}  // namespace mixgrad
