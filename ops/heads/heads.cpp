#include "ops/heads/heads.h"

#include <algorithm>
#include <array>

#include "autograd/tape.h"
#include "core/dispatch/constant_table.h"
#include "ops/heads/heads_kernels.h"
#include "ops/operators.h"
#include "ops/support/check.h"

namespace mixgrad {
namespace {

constexpr std::size_t kMaxParts = 4;

struct ConcatAttributes {
  std::int64_t head_dim;
  std::array<bool, kMaxParts> split;  // the part is [B,T,n,C], not [B,T,n C]
};

void split_heads_gradient(BackwardContext& context) { context.pass(0, context.output_gradient()); }

void concat_heads_gradient(BackwardContext& context) {
  const Tensor& dy = context.output_gradient();
  for (int p = 0; p < static_cast<int>(kMaxParts); ++p) {
    if (!context.wants(p)) continue;
    const auto& [width, split] = context.attributes<ConcatAttributes>();
    const std::int64_t heads = context.saved(p).numel();
    const Shape shape = split[static_cast<std::size_t>(p)] ? Shape{dy.dim(0), dy.dim(1), heads, width}
                                                           : Shape{dy.dim(0), dy.dim(1), heads * width};
    const GradTarget part = context.gradient(p, shape);
    MIXGRAD_DISPATCH(dy.device(), heads_from_slots, dy, context.saved(p), part);
  }
}

}  // namespace

const OpSpec split_heads_spec{
    .name = "split_heads",
    .formula = "y[b,t,h,c] = x[b,t,h C + c]",
    .gradient = "dx = dy",
    .saves = "nothing",
    .inputs = 1,
    .outputs = 1,
    .differentiable = {0},
    .roles = {InputRole::activation},
    .backward = split_heads_gradient,
};

const OpSpec concat_heads_spec{
    .name = "concat_heads",
    .formula = "y[b,t,slot C + c] = the head of that slot at c",
    .gradient = "each head's gradient is dy at its slot",
    .saves = "slots",
    .inputs = kMaxParts,
    .outputs = 1,
    .differentiable = {0, 1, 2, 3},
    .roles = {InputRole::activation, InputRole::activation, InputRole::activation, InputRole::activation},
    .backward = concat_heads_gradient,
};

Tensor split_heads(const Tensor& x, std::int64_t heads) {
  require_float("split_heads", "x", x);
  require_rank("split_heads", "x", x, 3, "[B,T,D]");
  require_contiguous("split_heads", "x", x);
  if (heads < 1 || x.cols() % heads != 0) {
    raise<ShapeError>("split_heads: the last axis of x must be a multiple of the ", heads, " heads, got x ", x.shape());
  }
  Tensor y = x.detach().reshape({x.dim(0), x.dim(1), heads, x.cols() / heads});
  if (any_tracked({&x})) record(split_heads_spec, {&x}, {&y}, {});
  return y;
}

Tensor concat_heads(std::span<const Tensor> parts, std::span<const std::int64_t> slots, std::int64_t head_dim) {
  constexpr const char* kOp = "concat_heads";
  if (parts.empty() || parts.size() > kMaxParts) {
    raise<ValueError>(kOp, ": from 1 to ", kMaxParts, " parts are required, got ", parts.size());
  }
  if (head_dim < 1) raise<ValueError>(kOp, ": the width of a head must be at least 1, got ", head_dim);
  const Shape& first = parts[0].shape();
  const auto heads = static_cast<std::int64_t>(slots.size());
  const Tensor taken = Tensor::zeros({heads}, DType::i32);
  for (const std::int64_t slot : slots) {
    if (slot < 0 || slot >= heads || taken.data<std::int32_t>()[slot] != 0) {
      raise<ValueError>(kOp, ": the slots must be 0 to ", heads - 1, ", each once, got ", slot,
                        slot < 0 || slot >= heads ? "" : " twice");
    }
    taken.data<std::int32_t>()[slot] = 1;
  }
  ConcatAttributes attributes{head_dim, {}};
  std::array<Tensor, kMaxParts> part;
  std::array<Tensor, kMaxParts> slots_of;
  std::int64_t next = 0;
  for (std::size_t p = 0; p < parts.size(); ++p) {
    const Tensor& x = parts[p];
    require_float(kOp, "a part", x);
    require_like(kOp, "a part", x, parts[0]);
    const std::int64_t width = x.shape().rank() < 3 ? 0 : x.numel() / std::max<std::int64_t>(1, x.dim(0) * x.dim(1));
    const bool rows = x.shape().rank() == 3 || (x.shape().rank() == 4 && x.cols() == head_dim);
    if (!rows || x.dim(0) != first[0] || x.dim(1) != first[1] || width % head_dim != 0) {
      raise<ShapeError>(kOp, ": a part must be [B,T,n ", head_dim, "] or [B,T,n,", head_dim,
                        "] with the B and T of the first, ", first, ", got ", x.shape());
    }
    const std::int64_t count = width / head_dim;
    if (next + count > heads) raise<ShapeError>(kOp, ": the parts hold more heads than the ", heads, " slots");
    slots_of[p] = Tensor::empty({count}, DType::i32);
    for (std::int64_t i = 0; i < count; ++i) {
      slots_of[p].data<std::int32_t>()[i] = static_cast<std::int32_t>(slots[static_cast<std::size_t>(next + i)]);
    }
    slots_of[p] = constant_table(slots_of[p], x.device());
    next += count;
    part[p] = x;
    attributes.split[p] = x.shape().rank() == 4;
  }
  if (next != heads)
    raise<ShapeError>(kOp, ": one slot for each head is required, got ", heads, " slots and ", next, " heads");
  Tensor y = Tensor::empty({first[0], first[1], heads * head_dim}, parts[0].dtype(), parts[0].device());
  for (std::size_t p = 0; p < parts.size(); ++p) {
    MIXGRAD_DISPATCH(y.device(), heads_to_slots, part[p], slots_of[p], y);
  }
  if (any_tracked({&part[0], &part[1], &part[2], &part[3]})) {
    record(concat_heads_spec, {&part[0], &part[1], &part[2], &part[3]}, {&y},
           {&slots_of[0], &slots_of[1], &slots_of[2], &slots_of[3]}, attributes);
  }
  return y;
}

}  // namespace mixgrad
