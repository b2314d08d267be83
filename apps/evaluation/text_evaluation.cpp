#include "apps/evaluation/text_evaluation.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "apps/data/checkpoint_text.h"
#include "apps/output/error_line.h"
#include "core/error.h"
#include "nn/modules/finite_values.h"

namespace mixgrad::app {
Checkpoint TextEvaluation::load(const std::string& path) const { return load_in_type(path, placement); }

TokenData TextEvaluation::open(const std::string& path, const Checkpoint& checkpoint, const std::string& source) const {
  ModelOptions own = text;
  own.data.clear();
  if (!source.empty()) own.data = {source};
  if (several && !own.unknown.empty() && checkpoint.tokenizer->expresses_any_text()) {
    say("--unknown means nothing for " + path + ", whose tokenizer can express any text");
    own.unknown.clear();
  }
  return open_checkpoint_text("eval", path, checkpoint.tokenizer, std::move(own));
}

EvaluatedText TextEvaluation::evaluate(const std::string& path, const Checkpoint& checkpoint, const std::string& source,
                                       const std::function<void(const TokenLoss&)>& sink) const {
  const Decoder& model = *checkpoint.model;
  const TokenData data = open(path, checkpoint, source);
  const TokenRange range = data.split(split);
  EvaluationOptions options = how;
  const std::int64_t context = options.context == 0 ? model.config().context : options.context;
  require_context(model, context);
  // More sequences than there are windows would only be padding.
  options.batch = std::min(options.batch, EvalWindows(data, range, context, options.stride).count());
  // Without the single tokens no logits of a whole batch are held, and the bits are those of the training's
  // evaluations.
  const bool whole = !sink && context <= model.config().context;
  const Evaluation result = whole ? mixgrad::evaluate(model, data, range, options)
                                  : evaluate_tokens(
                                        model, data, range, options, sink ? sink : [](const TokenLoss&) {});
  if (!std::isfinite(result.loss)) {
    raise_not_finite("eval: " + data.source(), "the loss", result.loss, model.parameters());
  }
  return {result, data.source(), data.tokenizer().is_text()};
}

}  // namespace mixgrad::app
