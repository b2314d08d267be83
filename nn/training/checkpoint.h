// What a generation of a run (nn/files/generations.h) holds:
//   config.json            the model (nn/config/model_config.h)
//   model.safetensors      its parameters, under the names of the model description (of a bf16 model the f32 masters)
//   tokenizer.json         nn/tokenizers/tokenizer_types.h
//   optimizer.safetensors  Optimizer::state(): of AdamW the moments, NAME.m and NAME.v
//   trainer.json           everything else (nn/training/trainer_state.h)
// The first three are a model on their own. The metadata of a safetensors file holds the XXH3 of each of its tensors;
// that of model.safetensors also holds those of config.json and tokenizer.json, as "file:NAME"; trainer.json holds its
// own. So a bit that flips anywhere is found on reading. The two safetensors files of a step have the same bytes
// whether the run was stopped and resumed or not.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <utility>

#include "nn/files/generations.h"
#include "nn/model/decoder.h"
#include "nn/tokenizers/tokenizer.h"
#include "nn/training/optimizers/optimizer.h"
#include "nn/training/trainer_state.h"

namespace mixgrad {

struct Checkpoint {
  std::unique_ptr<Decoder> model;
  TokenizerPtr tokenizer;
  std::filesystem::path folder;  // the generation's
};

// Writes RUN/step-N for N = state.step and points RUN/latest to it, and RUN/best to that of state.best; older ones go,
// but for state.parent and the best. IoError with path and reason, also beforehand when
// the disk has too little space (need, have); ValueError when a parameter is not finite. After an error the earlier
// generations are intact.
void save_checkpoint(const std::filesystem::path& run, const Decoder& model, const Tokenizer& tokenizer,
                     const Optimizer& optimizer, const TrainerState& state);

// Writes the three files of a model alone into a folder that no other program sees yet: config.json, tokenizer.json,
// model.safetensors with these tensors, which are the parameters of the configuration in any float type, each once.
// ValueError when one of them is missing, has another shape or is not finite; IoError.
void write_model(const std::filesystem::path& folder, const ModelConfig& config, const Tokenizer& tokenizer,
                 std::span<const std::pair<std::string, Tensor>> tensors);

// Bytes of one generation, within a few per cent and never too few.
std::uintmax_t generation_bytes(const Decoder& model, const Tokenizer& tokenizer, const Optimizer& optimizer);
// IoError unless `generations` of them fit where `run` is or will be.
void check_disk_space(const std::filesystem::path& run, std::uintmax_t bytes, std::int64_t generations);

// `path` is a run's folder, of which the latest generation is read, or a generation. FormatError when config, tensors
// and tokenizer do not fit together or were damaged, naming file and field, or when a parameter is not finite in the
// type of `placement`, naming the parameter. A checkpoint does not depend on the device
// on which it was trained.
Checkpoint load_checkpoint(const std::filesystem::path& path, Placement placement);

// The rest of a generation, for resuming. FormatError, IoError as above.
TrainerState load_trainer_state(const std::filesystem::path& generation);
// Into an optimizer of the kind that wrote it, over the parameters of the model of this generation.
void load_optimizer(const std::filesystem::path& generation, const TrainerState& state, Optimizer& optimizer);

}  // namespace mixgrad
