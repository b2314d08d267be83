#include "nn/training/checkpoint.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <set>
#include <system_error>
#include <vector>

#include "core/error.h"
#include "core/numeric/unsigned_nan.h"
#include "core/text/bytes.h"
#include "core/text/suggest.h"
#include "nn/files/file.h"
#include "nn/files/folder.h"
#include "nn/files/hash.h"
#include "nn/files/safetensors.h"
#include "nn/modules/finite_values.h"
#include "nn/tokenizers/tokenizer_types.h"

namespace mixgrad {

namespace fs = std::filesystem;

namespace {

constexpr const char* kModelFormat = "mixgrad-1";
constexpr const char* kOptimizerFormat = "mixgrad-optimizer-1";

std::vector<std::pair<std::string, Tensor>> named_parameters(const ParameterSet& parameters) {
  std::vector<std::pair<std::string, Tensor>> tensors;
  for (std::size_t i = 0; i < parameters.size(); ++i) tensors.emplace_back(parameters[i].name, parameters[i].master);
  return tensors;
}

std::vector<std::pair<std::string, Tensor>> named_state(const Optimizer& optimizer) {
  std::vector<std::pair<std::string, Tensor>> tensors;
  for (const NamedTensor& part : optimizer.state()) tensors.emplace_back(part.name, part.tensor);
  return tensors;
}

void require_finite(const fs::path& run, const ParameterSet& parameters, std::int64_t step) {
  for (std::size_t i = 0; i < parameters.size(); ++i) {
    const std::int64_t at = first_not_finite(parameters[i].master);
    if (at < 0) continue;
    raise<ValueError>(
        "checkpoint of step ", step, ": every parameter must be finite; element ", at, " of ", parameters[i].name,
        " is ", unsigned_nan(parameters[i].master.at(at)), "; nothing was written; ",
        holds_run(run) ? "earlier generations are intact: start a new run from one with" : "start again with",
        " a lower learning rate");
  }
}

// Compares a file with the XXH3 that the metadata of model.safetensors may give, once its content has been parsed.
void verify_file(const SafetensorsFile& model, const fs::path& path, const std::string& content) {
  const auto found = model.metadata().find("file:" + path.filename().string());
  if (found == model.metadata().end()) return;
  const std::string is = xxh3_hex(content);
  if (is != found->second) {
    raise<FormatError>(path.string(), ": the content must have the XXH3 ", quote(found->second),
                       " that model.safetensors gives; it has ", is,
                       "; the file was damaged or edited after it was written: take another generation");
  }
}

// Names and shapes must be exactly these. They are compared before any memory is allocated.
void require_tensors(const SafetensorsFile& file, const std::map<std::string, Shape>& expected) {
  for (const auto& [name, shape] : expected) {
    if (!file.has(name)) {
      raise<FormatError>(file.path(), ": tensor '", name, "' ", shape, " is required by config.json and missing");
    }
    const auto& entry = file.entry(name);
    if (!(entry.shape == shape)) {
      raise<FormatError>(file.path(), ": tensor '", name, "' must be ", shape, " by config.json, found ", entry.shape);
    }
    if (!is_float(entry.dtype)) {
      raise<FormatError>(file.path(), ": tensor '", name, "' must be F64, F32 or BF16, found ",
                         dtype_name(entry.dtype));
    }
  }
  if (file.names().size() == expected.size()) return;
  for (const std::string& name : file.names()) {
    if (expected.count(name) == 0) {
      raise<FormatError>(file.path(), ": tensor '", name, "' is not part of the model that config.json describes");
    }
  }
}

void require_metadata(const SafetensorsFile& file, const std::string& key, const std::string& value) {
  const auto found = file.metadata().find(key);
  if (found == file.metadata().end() || found->second != value) {
    raise<FormatError>(file.path(), ": metadata ", key, " must be ", quote(value), " as in trainer.json; found ",
                       found == file.metadata().end() ? "none" : quote(found->second),
                       "; the files are of different generations: take another one");
  }
}

}  // namespace

void save_checkpoint(const fs::path& run, const Decoder& model, const Tokenizer& tokenizer, const Optimizer& optimizer,
                     const TrainerState& state) {
  const ParameterSet& parameters = model.parameters();
  require_finite(run, parameters, state.step);
  check_disk_space(run, generation_bytes(model, tokenizer, optimizer), 1);
  const std::map<std::string, std::string> texts{{"config.json", to_json(model.config())},
                                                 {"tokenizer.json", tokenizer.to_json()}};
  install_generation(run, state.step, [&](const fs::path& scratch) {
    Metadata metadata{{"format", kModelFormat}, {"step", std::to_string(state.step)}};
    for (const auto& [name, content] : texts) {
      write_file_once(scratch / name, content);
      metadata.emplace("file:" + name, xxh3_hex(content));
    }
    write_file_once(scratch / "trainer.json", to_json(state));
    write_safetensors(scratch / "optimizer.safetensors",
                      {{"format", kOptimizerFormat}, {"step", std::to_string(state.step)}}, named_state(optimizer),
                      write_file_once);
    write_safetensors(scratch / "model.safetensors", metadata, named_parameters(parameters), write_file_once);
  });
  const std::optional<std::int64_t> best = state.best ? std::optional(state.best->step) : std::nullopt;
  point_best(run, best);
  prune_generations(run, state.step, {state.parent, best});
}

void write_model(const fs::path& folder, const ModelConfig& config, const Tokenizer& tokenizer,
                 std::span<const std::pair<std::string, Tensor>> tensors) {
  const std::map<std::string, Shape> shapes = parameter_shapes(config);
  std::set<std::string> seen;
  for (const auto& [name, tensor] : tensors) {
    const auto found = shapes.find(name);
    if (found == shapes.end() || !(tensor.shape() == found->second) || !is_float(tensor.dtype()) ||
        !seen.insert(name).second) {
      raise<ValueError>("write_model: every tensor must be a parameter of the model, once, in its shape; got ",
                        quote(name), " ", tensor.shape(), "; compare with parameter_shapes(config)");
    }
    const std::int64_t at = first_not_finite(tensor);
    if (at >= 0) {
      raise<ValueError>("write_model: every parameter must be finite; element ", at, " of ", quote(name), " is ",
                        unsigned_nan(tensor.to(kCpu).at(at)), "; nothing was written");
    }
  }
  if (seen.size() != shapes.size()) {
    const auto missing =
        std::find_if(shapes.begin(), shapes.end(), [&](const auto& shape) { return seen.count(shape.first) == 0; });
    raise<ValueError>("write_model: every parameter of the model is required; ", quote(missing->first), " ",
                      missing->second, " is missing; give it");
  }
  Metadata metadata{{"format", kModelFormat}};
  for (const auto& [name, content] : {std::pair<std::string, std::string>{"config.json", to_json(config)},
                                      std::pair<std::string, std::string>{"tokenizer.json", tokenizer.to_json()}}) {
    write_file_once(folder / name, content);
    metadata.emplace("file:" + name, xxh3_hex(content));
  }
  write_safetensors(folder / "model.safetensors", metadata, tensors, write_file_once);
}

std::uintmax_t generation_bytes(const Decoder& model, const Tokenizer& tokenizer, const Optimizer& optimizer) {
  constexpr std::uintmax_t kHeaderEntry = 320;  // of one tensor, its name twice; and a block of the disk for each file
  constexpr std::uintmax_t kTrainer = 8192, kBlocks = 7 * 4096;
  const ParameterSet& parameters = model.parameters();
  std::uintmax_t bytes = static_cast<std::uintmax_t>(parameters.count()) * dtype_bytes(parameters.master().dtype()) +
                         kHeaderEntry * parameters.size();
  for (const NamedTensor& part : optimizer.state()) bytes += part.tensor.bytes() + kHeaderEntry;
  return bytes + to_json(model.config()).size() + tokenizer.to_json().size() + kTrainer + kBlocks;
}

void check_disk_space(const fs::path& run, std::uintmax_t bytes, std::int64_t generations) {
  const std::uintmax_t need = bytes * static_cast<std::uintmax_t>(generations);
  const std::uintmax_t have = free_disk_bytes(run);
  if (have >= need) return;
  raise<IoError>(run.string(), ": ", generations, " checkpoint", generations > 1 ? "s" : "", " of ", bytes_text(bytes),
                 " must fit on the disk (", bytes_text(need), "); ", bytes_text(have),
                 " are free; make room or choose another folder; existing generations are intact");
}

Checkpoint load_checkpoint(const fs::path& path, Placement placement) {
  const fs::path folder = find_generation(path);
  const fs::path config_path = folder / "config.json";
  const std::string config_text = read_text(config_path);
  const ModelConfig config = parse_model_config(config_text, config_path.string());
  const fs::path tokenizer_path = folder / "tokenizer.json";
  const std::string tokenizer_text = read_text(tokenizer_path);
  TokenizerPtr tokenizer = load_tokenizer(tokenizer_text, tokenizer_path.string());
  if (tokenizer->vocab_size() > config.vocab_size) {
    raise<FormatError>(tokenizer_path.string(), ": has ", tokenizer->vocab_size(),
                       " tokens, but the model's vocab_size is ", config.vocab_size,
                       "; config.json and tokenizer.json are of different models");
  }
  const SafetensorsFile file = SafetensorsFile::open(folder / "model.safetensors");
  require_tensors(file, parameter_shapes(config));
  verify_file(file, config_path, config_text);
  verify_file(file, tokenizer_path, tokenizer_text);
  auto model = std::make_unique<Decoder>(config, placement);
  ParameterSet& parameters = model->parameters();
  for (std::size_t i = 0; i < parameters.size(); ++i) file.read_into(parameters[i].name, parameters[i].master);
  parameters.refresh();
  const std::string bad = first_parameter_not_finite(parameters);
  if (!bad.empty()) {
    raise<FormatError>(file.path(), ": every parameter must be finite in ", dtype_name(placement.dtype), "; ", bad,
                       "; take another generation, or train again with a lower learning rate");
  }
  return {std::move(model), std::move(tokenizer), folder};
}

TrainerState load_trainer_state(const fs::path& generation) {
  const fs::path path = generation / "trainer.json";
  std::error_code error;
  if (!fs::exists(path, error)) {
    raise<IoError>(path.string(), ": resuming needs it; this generation holds a model only; start a new run from its ",
                   "weights with mixgrad train --checkpoint");
  }
  const std::string text = read_text(path);
  TrainerState state = parse_trainer_state(text, path.string());
  const SafetensorsFile model = SafetensorsFile::open(generation / "model.safetensors");
  require_metadata(model, "format", kModelFormat);
  require_metadata(model, "step", std::to_string(state.step));
  for (const char* name : {"config.json", "tokenizer.json"}) {
    if (model.metadata().count(std::string("file:") + name) == 0) {
      raise<FormatError>(model.path(), ": metadata \"file:", name, "\" is required for resuming; it is missing");
    }
  }
  return state;
}

void load_optimizer(const fs::path& generation, const TrainerState& state, Optimizer& optimizer) {
  const SafetensorsFile file = SafetensorsFile::open(generation / "optimizer.safetensors");
  require_metadata(file, "format", kOptimizerFormat);
  require_metadata(file, "step", std::to_string(state.step));
  const std::vector<NamedTensor> parts = optimizer.state();
  std::map<std::string, Shape> expected;
  for (const NamedTensor& part : parts) expected.emplace(part.name, part.tensor.shape());
  require_tensors(file, expected);
  for (const auto& [name, tensor] : parts) {
    if (file.entry(name).dtype != tensor.dtype()) {
      raise<FormatError>(file.path(), ": tensor '", name, "' must be ", dtype_name(tensor.dtype()),
                         " as the parameters, found ", dtype_name(file.entry(name).dtype));
    }
    file.read_into(name, tensor);
    const std::int64_t at = first_not_finite(tensor);
    if (at >= 0) {
      raise<FormatError>(
          file.path(), ": the optimizer's state must be finite; element ", at, " of ", name, " is ",
          unsigned_nan(tensor.to(kCpu).at(at)),
          "; take another generation, or start a new run from its weights with mixgrad train --checkpoint");
    }
  }
  optimizer.set_steps(state.optimizer_steps);
}

}  // namespace mixgrad
