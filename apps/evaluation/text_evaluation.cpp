#include "apps/evaluation/text_evaluation.h"

#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

#include "apps/data/checkpoint_text.h"
#include "apps/output/error_line.h"
#include "apps/run/run_ranks.h"
#include "core/error.h"
#include "nn/distributed/agreement.h"
#include "nn/files/hash.h"
#include "nn/modules/finite_values.h"

namespace mixgrad::app {
namespace {

std::string tokens_hash(const TokenData& data, TokenRange range) {
  constexpr std::int64_t kPiece = 65536;
  std::vector<std::int32_t> ids(kPiece);
  Xxh3 hash;
  for (std::int64_t begin = range.begin; begin < range.end; begin += kPiece) {
    const std::int64_t count = std::min(kPiece, range.end - begin);
    data.gather(begin, count, ids.data());
    hash.add(ids.data(), static_cast<std::size_t>(count) * sizeof ids[0]);
  }
  return hash.hex();
}

}  // namespace

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
  if (how.ranks != nullptr) {  // each runs its share of the windows
    require_same(*how.ranks, {{"the weights, as XXH3,", weights_hash(model)},
                              {"the number of tokens", std::to_string(range.size())},
                              {"the tokens, as XXH3,", tokens_hash(data, range)}});
  }
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
