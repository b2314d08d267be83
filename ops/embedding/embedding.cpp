#include "ops/embedding/embedding.h"

#include "autograd/tape.h"
#include "core/build.h"
#include "core/cuda/cuda.h"
#include "ops/embedding/embedding_kernels.h"
#include "ops/operators.h"
#include "ops/support/check.h"

namespace mixgrad {
namespace {

struct EmbeddingAttributes {
  std::int64_t vocabulary;
  std::int64_t position_rows;
  std::int64_t first_position;
};

void embedding_gradient(BackwardContext& context) {
  const auto& attributes = context.attributes<EmbeddingAttributes>();
  const Tensor& tokens = context.saved(0);
  const Tensor& dy = context.output_gradient();
  const GradTarget dweight = context.gradient(1, {attributes.vocabulary, dy.cols()});
  const GradTarget dpositions = context.gradient(2, {attributes.position_rows, dy.cols()});
  MIXGRAD_DISPATCH(dy.device(), embedding_backward, tokens, attributes.first_position, dy, dweight, dpositions);
}

}  // namespace

const OpSpec embedding_spec{
    .name = "embedding",
    .formula = "y[b,t,:] = weight[tokens[b,t],:] + positions[first_position + t,:]",
    .gradient = "dweight[v,:] = sum of dy[b,t,:] over tokens = v; dpositions[p,:] = sum_b dy[b,p-first,:]",
    .saves = "tokens",
    .inputs = 3,
    .outputs = 1,
    .differentiable = {1, 2},
    .roles = {InputRole::index, InputRole::parameter, InputRole::parameter},
    .cached = "embedding",
    .backward = embedding_gradient,
};

void check_tokens(const Tensor& tokens, std::int64_t vocabulary) {
  if constexpr (build::has_cuda) {
    if (cuda::capturing()) return;  // the values do not exist yet: the kernel writes NaN
  }
  const Tensor host = tokens.to(kCpu);
  const std::int32_t* ids = host.data<std::int32_t>();
  for (std::int64_t i = 0; i < tokens.numel(); ++i) {
    if (ids[i] < 0 || ids[i] >= vocabulary) {
      raise<ValueError>("embedding: tokens must be in [0,", vocabulary, "), got ", ids[i], " at index ", i);
    }
  }
}

Tensor embedding(const Tensor& tokens, const Tensor& weight, const Tensor& positions, TokenPosition first_position) {
  require_i32("embedding", "tokens", tokens);
  require_rank("embedding", "tokens", tokens, 2, "[B,T]");
  require_contiguous("embedding", "tokens", tokens);
  require_float("embedding", "weight", weight);
  require_rank("embedding", "weight", weight, 2, "[V,D]");
  require_device("embedding", "tokens", tokens, weight.device());
  const std::int64_t steps = tokens.dim(1);
  if (positions.defined()) {
    require_like("embedding", "positions", positions, weight);
    require_rank("embedding", "positions", positions, 2, "[C,D]");
    if (positions.dim(1) != weight.dim(1)) {
      raise<ShapeError>("embedding: positions must be [C,", weight.dim(1), "] to match weight ", weight.shape(),
                        ", got ", positions.shape());
    }
    const std::int64_t first = first_position.host;
    if (first < 0 || first + steps > positions.dim(0)) {
      raise<ValueError>("embedding: positions ", first, " to ", first + steps - 1, " are asked for, there are ",
                        positions.dim(0), "; use a shorter sequence or a larger context");
    }
  }
  require_position("embedding", "first_position", first_position, weight);
  check_tokens(tokens, weight.dim(0));
  Tensor y = Tensor::empty({tokens.dim(0), steps, weight.dim(1)}, accumulation_dtype(weight.dtype()), weight.device());
  MIXGRAD_DISPATCH(weight.device(), embedding_forward, tokens, weight, positions, first_position, y);
  if (any_tracked({&weight, &positions})) {
    const EmbeddingAttributes attributes{weight.dim(0), positions.defined() ? positions.dim(0) : 0,
                                         first_position.host};
    record(embedding_spec, {&tokens, &weight, &positions}, {&y}, {&tokens}, attributes);
  }
  return y;
}

}  // namespace mixgrad
