#include "apps/run/run_data.h"

#include "core/text/plural.h"
#include "nn/evaluation/evaluation.h"
#include "nn/evaluation/task_evaluation.h"

namespace mixgrad::app {

const BatchStream& RunData::batches() const {
  return std::visit([](const auto& data) -> const BatchStream& { return data; }, data_);
}

TextId RunData::id() const { return text() != nullptr ? text()->text_id().value() : task()->id(); }

RunData::Validation RunData::validate(const Decoder& model, Communicator* ranks) const {
  if (text() != nullptr)
    return {.loss = evaluate(model, *text(), text()->valid(), EvaluationOptions{.ranks = ranks}).loss};
  const TaskScore score =
      evaluate_task(model, task()->task(), {.seed = seed_, .sequences = kTaskValidation, .ranks = ranks});
  return {.loss = score.loss, .accuracy = score.answers.share()};
}

std::string RunData::describe() const {
  if (text() == nullptr) {
    const Task& one = task()->task();
    return one.text() + ": sequences of " + count_text(one.length(), "token") + " of " +
           count_text(one.vocabulary(), "kind") + ", generated; " + std::to_string(kTaskValidation) +
           " others for validation";
  }
  return text()->source() + ": " + count_text(text()->size(), "token") + " of " +
         count_text(tokenizer().vocab_size(), "kind") + ", the last " + std::to_string(text()->valid().size()) +
         " for validation" + (text()->document_start() ? "; nothing of a document reaches the next" : "");
}

}  // namespace mixgrad::app
