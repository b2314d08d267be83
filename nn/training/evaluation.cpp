#include "nn/training/evaluation.h"

#include <cmath>
#include <numbers>

#include "core/error.h"
#include "core/system/interrupt.h"
#include "core/text/plural.h"

namespace mixgrad {

Evaluation evaluate(const Decoder& model, const TokenData& data, TokenRange range, std::int64_t batch) {
  if (data.tokenizer().vocab_size() > model.config().vocab_size) {
    raise<ValueError>("evaluate: a model with at least ", count_text(data.tokenizer().vocab_size(), "token"),
                      " is required for this text; this one has ", model.config().vocab_size,
                      "; take the tokenizer of the model");
  }
  const EvalWindows windows(data, range, model.config().context);
  const Tensor tokens = Tensor::empty({batch, windows.context()}, DType::i32);
  const Tensor targets = Tensor::empty({batch, windows.context()}, DType::i32);
  Evaluation result;
  double sum = 0;
  for (std::int64_t first = 0; first < windows.count(); first += batch) {
    check_interrupt();
    const std::int64_t count = windows.fill(first, tokens, targets);
    sum += model.loss(tokens, targets).item() * static_cast<double>(count);
    result.targets += count;
  }
  result.loss = sum / static_cast<double>(result.targets);
  result.perplexity = std::exp(result.loss);
  result.bits_per_byte = sum / std::numbers::ln2 / static_cast<double>(windows.target_bytes());
  return result;
}

}  // namespace mixgrad
