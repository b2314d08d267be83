#include "nn/evaluation/token_losses.h"

#include <algorithm>
#include <vector>

#include "core/error.h"
#include "core/system/interrupt.h"
#include "core/text/plural.h"
#include "nn/data/document_rows.h"
#include "nn/evaluation/target_losses.h"

namespace mixgrad {

void require_context(const Decoder& model, std::int64_t context) {
  const ModelConfig& config = model.config();
  if (context <= config.context || config.positions != Positions::learned) return;
  raise<ValueError>("evaluate: a model with learned positions has none beyond its context of ",
                    count_text(config.context, "token"), "; got ", context, "; choose a smaller context");
}

namespace {

struct PlacedLoss {
  double loss = 0;
  std::int64_t position = 0;  // from 1
};

// Of windows [B,T], or of their documents, each from its own position 1.
std::vector<PlacedLoss> placed_losses(const Decoder& model, const TokenData& data, const Tensor& tokens,
                                      const Tensor& targets) {
  const std::int64_t context = tokens.dim(1);
  std::vector<PlacedLoss> placed(static_cast<std::size_t>(tokens.numel()));
  const auto place = [&](const DocumentRows& rows) {
    const std::int64_t length = rows.tokens.dim(1);
    const std::span<const std::int32_t> wanted(rows.targets.data<std::int32_t>(),
                                               static_cast<std::size_t>(rows.targets.numel()));
    // A window as long as the sequence: softmax layers see all of it, also beyond the context of the training.
    const Tensor logits = model.logits(rows.tokens, length > model.config().context ? length : 0);
    const std::vector<TargetLoss> losses = target_losses(logits, wanted);
    for (std::size_t i = 0; i < rows.pieces.size(); ++i) {
      const DocumentPiece& piece = rows.pieces[i];
      for (std::int64_t t = 0; t < piece.length; ++t) {
        placed[static_cast<std::size_t>(piece.row * context + piece.first + t)] = {
            losses[i * static_cast<std::size_t>(length) + static_cast<std::size_t>(t)].loss, t + 1};
      }
    }
  };
  if (const auto start = data.document_start()) {
    for (const DocumentRows& rows : cut_at_documents(tokens, targets, *start)) place(rows);
    return placed;
  }
  DocumentRows whole{.tokens = tokens, .targets = targets, .pieces = {}};
  for (std::int64_t b = 0; b < tokens.dim(0); ++b) whole.pieces.push_back({b, 0, context});
  place(whole);
  return placed;
}

}  // namespace

Evaluation evaluate_tokens(const Decoder& model, const TokenData& data, TokenRange range,
                           const EvaluationOptions& options, const std::function<void(const TokenLoss&)>& sink) {
  require_vocabulary(model, data);
  const std::int64_t context = options.context == 0 ? model.config().context : options.context;
  require_context(model, context);
  const EvalWindows windows(data, range, context, options.stride);
  const std::int64_t most = std::min(options.batch, windows.count());
  const std::int64_t batch = rows_of_logits(most, context, model.config().vocab_size);
  const Tensor tokens = Tensor::empty({batch, context}, DType::i32);
  const Tensor targets = Tensor::empty({batch, context}, DType::i32);
  const std::span<const std::int32_t> wanted(targets.data<std::int32_t>(), static_cast<std::size_t>(batch * context));
  std::vector<PartialSum> parts;
  for (std::int64_t first = 0; first < windows.count(); first += batch) {
    check_interrupt();
    windows.fill(first, tokens, targets);
    const std::vector<PlacedLoss> losses = placed_losses(model, data, tokens, targets);
    for (std::int64_t b = 0; b < batch && first + b < windows.count(); ++b) {
      const std::int64_t begin = windows.predicted(first + b).begin;
      PartialSum part;
      for (std::int64_t t = 0; t < context; ++t) {
        const auto at = static_cast<std::size_t>(b * context + t);
        if (wanted[at] < 0) continue;
        part.sum += losses[at].loss;
        ++part.count;
        sink({begin + t, losses[at].position, wanted[at], losses[at].loss});
      }
      parts.push_back(part);
    }
  }
  return evaluation_of(parts, windows.target_bytes());
}

}  // namespace mixgrad
