// What a run learns from: a text as tokens, or a task.
//
//   const RunData data(TaskBatches(parse_task("parity")), {.seed = 1});
//   trainer = make_trainer(model, optimizer, data.batches(), options);
//   const RunData::Validation validation = data.validate(model);
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <variant>

#include "nn/data/task_batches.h"
#include "nn/data/token_data.h"
#include "nn/distributed/communicator.h"
#include "nn/model/decoder.h"

namespace mixgrad::app {

// Sequences of a task that an evaluation within a run takes.
inline constexpr std::int64_t kTaskValidation = 512;

class RunData {
 public:
  struct Validation {
    double loss = 0;                      // nats a target
    std::optional<double> accuracy = {};  // of a task: of its answers
  };

  explicit RunData(TokenData text) : data_(std::move(text)) {}
  // `seed` is that of the run: its evaluations take other sequences of it than its batches.
  RunData(TaskBatches task, std::uint64_t seed)
      : data_(std::move(task)), tokenizer_(std::get<TaskBatches>(data_).task().tokenizer()), seed_(seed) {}

  const BatchStream& batches() const;
  const Tokenizer& tokenizer() const { return text() != nullptr ? text()->tokenizer() : *tokenizer_; }
  const TokenData* text() const { return std::get_if<TokenData>(&data_); }      // null: a task
  const TaskBatches* task() const { return std::get_if<TaskBatches>(&data_); }  // null: a text
  TextId id() const;  // of a text that was opened with Identify::yes, or of the task
  bool validates() const { return text() == nullptr || text()->valid().size() > 0; }
  // validates(). Of a job: by all ranks together (EvaluationOptions::ranks).
  Validation validate(const Decoder& model, Communicator* ranks = nullptr) const;

  // "my.txt: 1115394 tokens of 65 kinds, the last 111540 for validation", or of the task.
  std::string describe() const;

 private:
  std::variant<TokenData, TaskBatches> data_;
  TokenizerPtr tokenizer_;  // of a task
  std::uint64_t seed_ = 0;
};

}  // namespace mixgrad::app
