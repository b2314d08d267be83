#include "nn/checkpoint.h"

#include <system_error>
#include <vector>

#include "core/error.h"
#include "nn/file.h"
#include "nn/safetensors.h"

namespace mixgrad {

namespace fs = std::filesystem;

namespace {

[[noreturn]] void fail(const char* action, const fs::path& path, const std::error_code& error) {
  raise<IoError>(path.string(), ": cannot ", action, ": ", error.message());
}

// `latest` is replaced in one step: a new symlink beside it, renamed over it.
void point_latest(const fs::path& run, const std::string& generation) {
  const fs::path scratch = run / ".latest.tmp";
  std::error_code error;
  fs::remove(scratch, error);
  fs::create_symlink(generation, scratch, error);
  if (error) fail("create the symlink", scratch, error);
  fs::rename(scratch, run / "latest", error);
  if (error) fail("rename", scratch, error);
  sync_folder(run);
}

}  // namespace

void save_checkpoint(const fs::path& run, std::int64_t step, const Decoder& model, const Tokenizer& tokenizer) {
  const std::string name = "step-" + std::to_string(step);
  const fs::path scratch = run / ("." + name + ".tmp");
  make_folder(run);
  std::error_code error;
  fs::remove_all(scratch, error);
  if (error) fail("remove", scratch, error);
  make_folder(scratch);
  std::vector<std::pair<std::string, Tensor>> tensors;
  const ParameterSet& parameters = model.parameters();
  for (std::size_t i = 0; i < parameters.size(); ++i) tensors.emplace_back(parameters[i].name, parameters[i].value);
  write_file_atomic(scratch / "config.json", to_json(model.config()));
  write_file_atomic(scratch / "tokenizer.json", tokenizer.to_json());
  write_safetensors(scratch / "model.safetensors", {{"format", "mixgrad-1"}, {"step", std::to_string(step)}}, tensors);
  sync_folder(scratch);
  fs::remove_all(run / name, error);  // the same step of an earlier attempt
  if (error) fail("remove", run / name, error);
  fs::rename(scratch, run / name, error);
  if (error) fail("rename", scratch, error);
  sync_folder(run);
  point_latest(run, name);
}

bool holds_run(const fs::path& run) {
  std::error_code error;
  return fs::exists(fs::symlink_status(run / "latest", error));
}

Checkpoint load_checkpoint(const fs::path& path, DType dtype) {
  const fs::path folder = holds_run(path) ? path / "latest" : path;
  std::error_code error;
  if (!fs::exists(folder / "config.json", error)) {
    raise<IoError>(path.string(), ": a checkpoint is required (a folder with config.json and model.safetensors, or a ",
                   "run with latest -> step-N), found none; give the --out folder of a training run");
  }
  const ModelConfig config = parse_model_config(read_text(folder / "config.json"), (folder / "config.json").string());
  const fs::path tokenizer_path = folder / "tokenizer.json";
  Tokenizer tokenizer = Tokenizer::from_json(read_text(tokenizer_path), tokenizer_path.string());
  if (tokenizer.vocab_size() > config.vocab_size) {
    raise<FormatError>(tokenizer_path.string(), ": has ", tokenizer.vocab_size(),
                       " tokens, but the model's vocab_size is ", config.vocab_size,
                       "; config.json and tokenizer.json are of different models");
  }
  const SafetensorsFile file = SafetensorsFile::open(folder / "model.safetensors");
  // Names and shapes are compared before the model's memory is asked for.
  const auto expected = parameter_shapes(config);
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
  if (file.names().size() != expected.size()) {
    for (const std::string& name : file.names()) {
      if (expected.count(name) == 0) {
        raise<FormatError>(file.path(), ": tensor '", name, "' is not part of the model that config.json describes");
      }
    }
  }
  auto model = std::make_unique<Decoder>(config, dtype);
  ParameterSet& parameters = model->parameters();
  for (std::size_t i = 0; i < parameters.size(); ++i) file.read_into(parameters[i].name, parameters[i].value);
  return {std::move(model), std::move(tokenizer), folder};
}

}  // namespace mixgrad
