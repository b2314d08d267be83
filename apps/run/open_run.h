// What a run works on, opened once: the model, and the text as tokens with its tokenizer.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>

#include "apps/options/model_options.h"
#include "nn/data/task_batches.h"
#include "nn/data/token_data.h"
#include "nn/model/decoder.h"

namespace mixgrad::app {

struct OpenedRun {
  std::unique_ptr<Decoder> model;
  TokenData data;  // holds the tokenizer, and the identity of the text when that was asked for
};

// What the text is for: batches are drawn from it, or it only gives a new model its vocabulary.
enum class TextUse : std::uint8_t { batches, vocabulary };

struct OpenRunOptions {
  std::filesystem::path weights = {};  // a run or generation to load the model from; empty: a model with initial values
  Placement placement;
  std::uint64_t seed = 1;  // of the initial values
  TextUse use = TextUse::batches;
  Identify identify = Identify::no;
};

// With `weights`, the tokenizer comes from there and the text must fit its vocabulary; without, the tokenizer is made
// from the text. The text is opened, and where possible read, once.
// ValueError when batches are to be drawn and the text has no window of the model's context, for a new model before it
// allocates anything.
// FormatError, IoError as TokenData::open and load_checkpoint.
OpenedRun open_run(const ModelOptions& options, const OpenRunOptions& run);

struct OpenedTaskRun {
  std::unique_ptr<Decoder> model;
  TaskBatches batches;
};

// The same for the task of options.task, which sets vocabulary and context of a new model.
// ValueError when the model with `weights` has another context, or fewer tokens.
OpenedTaskRun open_task_run(const ModelOptions& options, const OpenRunOptions& run);
// The configuration of a new model for that task.
ModelConfig task_model_config(const ModelOptions& options, const Task& task);

}  // namespace mixgrad::app
