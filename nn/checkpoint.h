// Checkpoints. A run's folder DIR keeps generations:
//   DIR/step-N/config.json         the model (nn/model_config.h)
//   DIR/step-N/model.safetensors   its parameters, under the names of the model description
//   DIR/step-N/tokenizer.json      nn/tokenizer.h
//   DIR/latest -> step-N
// A generation is written whole into DIR/.step-N.tmp, made durable and renamed, then `latest` is swapped in one rename:
// a reader finds the old one or the new one, never a part.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>

#include "nn/decoder.h"
#include "nn/tokenizer.h"

namespace mixgrad {

struct Checkpoint {
  std::unique_ptr<Decoder> model;
  Tokenizer tokenizer;
  std::filesystem::path folder;  // the generation's
};

// Writes DIR/step-N and points DIR/latest to it. IoError with path and reason; what was there before stands.
void save_checkpoint(const std::filesystem::path& run, std::int64_t step, const Decoder& model,
                     const Tokenizer& tokenizer);

// `path` is a run's folder (its latest generation is taken) or a generation. FormatError when config, tensors and
// tokenizer do not fit together, naming what is missing or has the wrong shape.
Checkpoint load_checkpoint(const std::filesystem::path& path, DType dtype);

// Is there a generation in this folder?
bool holds_run(const std::filesystem::path& run);

}  // namespace mixgrad
