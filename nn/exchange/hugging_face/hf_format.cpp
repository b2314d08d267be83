// Hugging Face folders: config.json and model.safetensors, or several files with an index.
#include <cstring>
#include <map>
#include <memory>
#include <set>
#include <system_error>

#include "core/error.h"
#include "core/text/suggest.h"
#include "nn/exchange/format.h"
#include "nn/exchange/hugging_face/hugging_face_model.h"
#include "nn/exchange/hugging_face/model_card.h"
#include "nn/exchange/hugging_face/weight_files.h"
#include "nn/exchange/tokenizer_export.h"
#include "nn/files/file.h"

namespace mixgrad {
namespace {

namespace fs = std::filesystem;

constexpr const char* kHead = "lm_head.weight";
constexpr const char* kConfig = "config.json";

bool holds_hf(const fs::path& source) {
  std::error_code error;
  return fs::is_directory(source, error) && holds_weight_files(source) && fs::exists(source / kConfig, error);
}

// A file of the class without a head has the names without their prefix.
void fit_prefix(const HuggingFaceModel& kind, const WeightFiles& weights, TensorRecipes& recipes) {
  if (weights.has(recipes.front().parts.front().name)) return;
  const std::size_t prefix = std::strlen(kind.prefix);
  for (TensorRecipe& recipe : recipes) {
    for (TheirTensor& part : recipe.parts) {
      if (part.name.starts_with(kind.prefix)) part.name.erase(0, prefix);
    }
  }
}

// Names, shapes and types are compared before any memory is taken for a tensor.
void require_weights(const HuggingFaceModel& kind, const WeightFiles& weights, const TensorRecipes& recipes) {
  std::set<std::string> needed;
  for (const TensorRecipe& recipe : recipes) {
    for (const TheirTensor& part : recipe.parts) {
      needed.insert(part.name);
      if (!weights.has(part.name)) {
        raise<FormatError>(weights.path(), ": tensor ", quote(part.name), " ", part.shape,
                           " is required by config.json; it is missing; fetch the whole model");
      }
      const SafetensorsFile::Entry& entry = weights.entry(part.name);
      if (!(entry.shape == part.shape)) {
        raise<FormatError>(weights.file_of(part.name).path(), ": tensor ", quote(part.name), " must have the shape ",
                           part.shape, " by config.json; found ", entry.shape,
                           "; the files are of different models: fetch them again");
      }
      weights.file_of(part.name).require_floats(part.name);
    }
  }
  for (const std::string& name : weights.names()) {
    if (needed.count(name) > 0 || kind.is_buffer(name) || name == kHead) continue;
    raise<FormatError>(weights.file_of(name).path(), ": every tensor must belong to a model of the kind ", kind.type,
                       " as config.json describes it; found ", quote(name),
                       " as well; such a model cannot be imported");
  }
}

// A tied model may have been stored with its head, which is then the table.
void require_tied_head(const WeightFiles& weights, const std::string& table) {
  if (!weights.has(kHead)) return;
  const SafetensorsFile::Entry& head = weights.entry(kHead);
  weights.file_of(kHead).require_floats(kHead);
  if (head.shape == weights.entry(table).shape && weights.read(kHead).equal_bits(weights.read(table))) return;
  raise<FormatError>(weights.file_of(kHead).path(), ": ", kHead, " must be ", quote(table),
                     " by tie_word_embeddings of config.json; it differs; set tie_word_embeddings to false");
}

fs::path tokenizer_of(const fs::path& folder, std::vector<std::string>& decisions) {
  std::error_code error;
  if (fs::exists(folder / "tokenizer.json", error)) return folder / "tokenizer.json";
  if (fs::exists(folder / "vocab.json", error) && fs::exists(folder / "merges.txt", error)) return folder;
  if (fs::exists(folder / "tokenizer.model", error)) {
    decisions.emplace_back(
        "tokenizer.model is a file of SentencePiece, which is not read; AutoTokenizer of transformers makes a "
        "tokenizer.json of it, which --tokenizer takes");
  }
  return {};
}

ForeignModel open_hf(const fs::path& source) {
  const std::string path = (source / kConfig).string();
  HuggingFaceConfig config(read_text(path), path);
  const HuggingFaceModel& kind = hugging_face_model_of(config);
  ForeignModel model;
  model.kind = std::string(kind.type) + " (" + kind.architecture + ")";
  model.config = kind.read(config);
  ModelConfig checked = model.config;
  checked.context = std::max<std::int64_t>(checked.context, 1);
  if (const std::string broken = first_broken_rule(checked); !broken.empty()) {
    raise<FormatError>(path, ": ", broken, " (config.json of the kind ", kind.type, ")");
  }
  model.recipes = kind.recipes(model.config);
  model.decisions = config.decisions();
  const auto weights = std::make_shared<WeightFiles>(WeightFiles::open(source));
  fit_prefix(kind, *weights, model.recipes);
  require_weights(kind, *weights, model.recipes);
  if (model.config.tie_embeddings) require_tied_head(*weights, model.recipes.front().parts.front().name);
  std::map<std::string, int> types;
  for (const TensorRecipe& recipe : model.recipes) {
    for (const TheirTensor& part : recipe.parts) ++types[weights->entry(part.name).type];
  }
  if (types.count("F16") > 0) model.decisions.emplace_back("F16 weights are stored as F32, which has all their values");
  model.read = [weights](const TheirTensor& part) { return weights->read(part.name); };
  model.tokenizer = tokenizer_of(source, model.decisions);
  return model;
}

// Which layers or choices stand in the way, each once, with the kinds that they rule out.
[[noreturn]] void refuse_export(const ModelToExport& model) {
  std::vector<std::pair<std::string, std::string>> reasons;  // reason, kinds
  for (const HuggingFaceModel& kind : hugging_face_models()) {
    const std::string reason = kind.objection(model.config);
    auto same = reasons.begin();
    while (same != reasons.end() && same->first != reason) ++same;
    if (same == reasons.end()) {
      reasons.emplace_back(reason, kind.type);
    } else {
      same->second += std::string(", ") + kind.type;
    }
  }
  std::string text;
  for (const auto& [reason, kinds] : reasons) {
    text.append(text.empty() ? "" : "; or for ").append(kinds).append(": ").append(reason);
  }
  raise<ValueError>("export: ", model.name, " must be a model that a kind of Hugging Face can express: for ", text,
                    " (nothing was written)");
}

const HuggingFaceModel& kind_for(const ModelToExport& model) {
  for (const HuggingFaceModel& kind : hugging_face_models()) {
    if (kind.objection(model.config).empty()) return kind;
  }
  refuse_export(model);
}

const char* torch_type(DType dtype) {
  switch (dtype) {
    case DType::f64: return "float64";
    case DType::f32: return "float32";
    case DType::bf16: return "bfloat16";
    case DType::i32: break;
  }
  return "float32";
}

std::vector<std::pair<std::string, Tensor>> their_tensors(const ModelToExport& model, const HuggingFaceModel& kind) {
  std::vector<std::pair<std::string, Tensor>> tensors;
  for (const TensorRecipe& recipe : kind.recipes(model.config)) {
    for (auto& part : take_apart(recipe, model.read(recipe.ours))) tensors.push_back(std::move(part));
  }
  return tensors;
}

nlohmann::ordered_json id_json(std::optional<std::int32_t> id) {
  return id ? nlohmann::ordered_json(*id) : nlohmann::ordered_json();
}

std::vector<std::string> write_hf(const ModelToExport& model, const fs::path& folder) {
  const HuggingFaceModel& kind = kind_for(model);
  const auto tensors = their_tensors(model, kind);
  const SpecialTokens special = model.tokenizer->special_tokens();
  const std::optional<std::int32_t> start = special.start ? special.start : special.end;
  nlohmann::ordered_json config = kind.write(model.config);
  nlohmann::ordered_json generation = nlohmann::ordered_json::object();
  config["bos_token_id"] = generation["bos_token_id"] = id_json(start);
  config["eos_token_id"] = generation["eos_token_id"] = id_json(special.end);
  config["pad_token_id"] = generation["pad_token_id"] = id_json(special.padding);
  config["torch_dtype"] = torch_type(tensors.front().second.dtype());
  write_file_once(folder / kConfig, config.dump(2) + "\n");
  write_file_once(folder / "generation_config.json", generation.dump(2) + "\n");
  write_safetensors(folder / kWeightsFile, {{"format", "pt"}}, tensors, write_file_once);
  std::vector<std::string> notes;
  const ExpressedTokenizer expressed = hugging_face_form(*model.tokenizer);
  if (expressed.content.empty()) {
    notes.push_back("no tokenizer.json was written: " + expressed.reason);
  } else {
    write_file_once(folder / "tokenizer.json", expressed.content);
    write_file_once(folder / "tokenizer_config.json", tokenizer_config(*model.tokenizer, model.config.context));
    if (!expressed.reason.empty()) notes.push_back(expressed.reason);
  }
  write_file_once(folder / "README.md", model_card(model, kind.architecture, !expressed.content.empty()));
  notes.insert(notes.begin(), std::string("it is a model of the kind ") + kind.type + " (" + kind.architecture + ")");
  return notes;
}

}  // namespace

ExchangeFormat built_in::hf_format() {
  return {.name = "hf",
          .summary = "a folder of Hugging Face (config.json and safetensors) of a model of the kind " +
                     join(hugging_face_model_types()),
          .holds = holds_hf,
          .open = open_hf,
          .write = write_hf};
}

}  // namespace mixgrad
