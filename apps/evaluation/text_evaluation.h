// One checkpoint on one text, as `eval` does it.
//
//   const TextEvaluation evaluation(options, "valid", {.batch = 16}, placement);
//   const Checkpoint checkpoint = evaluation.load("runs/a");
//   const EvaluatedText result = evaluation.evaluate("runs/a", checkpoint, "my.txt");
#pragma once

#include <functional>
#include <string>

#include "apps/options/model_options.h"
#include "apps/options/placement_options.h"
#include "nn/evaluation/token_losses.h"
#include "nn/training/checkpoint.h"

namespace mixgrad::app {

struct EvaluatedText {
  Evaluation result;
  std::string source;   // of the text
  bool is_text = true;  // or else ids, which stand for no bytes
};

struct TextEvaluation {
  const ModelOptions& text;
  std::string split;
  EvaluationOptions how;
  const PlacementOptions& placement;
  bool several = false;  // checkpoints: --unknown may mean something for one of them only

  // In the type of --precision, of `stored` in that of the parameters.
  Checkpoint load(const std::string& path) const;

  // `source`: one of --data, or "" for the text that the run was trained on, which is said. With `sink` token by token.
  // NotFinite when the loss is not finite; the errors of open_data_set and evaluate().
  EvaluatedText evaluate(const std::string& path, const Checkpoint& checkpoint, const std::string& source,
                         const std::function<void(const TokenLoss&)>& sink = {}) const;

 private:
  TokenData open(const std::string& path, const Checkpoint& checkpoint, const std::string& source) const;
};

}  // namespace mixgrad::app
