// mamba_step: one kernel for what separate operators compute, token by token.
#include "ops/selective_scan/mamba_step.h"

#include <doctest/doctest.h>

#include <vector>

#include "autograd/tape.h"
#include "core/context.h"
#include "core/error.h"
#include "ops/cases/cases.h"
#include "ops/causal_conv/causal_conv.h"
#include "ops/elementwise/elementwise.h"
#include "ops/head_linear/head_linear.h"
#include "ops/selective_scan/selective_scan.h"
#include "tests/support/close.h"
#include "tests/support/device.h"

namespace mixgrad::test {
namespace {

struct MambaSizes {
  std::int64_t batch, heads, channels, states, rank, taps, outputs;
};

// One and several sequences; channels that fill the threads once, often and not evenly; states that cannot be shared.
const std::vector<MambaSizes> kMambaSizes{{1, 12, 128, 16, 4, 4, 64}, {3, 2, 64, 16, 2, 4, 32},
                                          {2, 1, 8, 3, 1, 2, 5},      {1, 3, 24, 5, 3, 3, 9},
                                          {1, 2, 32, 8, 2, 6, 16},    {2, 2, 256, 16, 8, 4, 64}};

MambaStep random_mamba_step(const MambaSizes& s, DType dtype) {
  const Device device = test_device();
  const DType precise = accumulation_dtype(dtype);
  const auto random = [&](const Shape& shape, std::uint64_t seed, DType of) {
    return random_tensor(shape, seed).to(of).to(device);
  };
  return {.projected = random({s.batch, 1, s.heads, 2 * s.channels}, 1, dtype),
          .conv = random({s.heads, s.channels, s.taps}, 2, precise),
          .conv_bias = random({s.heads, s.channels}, 3, precise),
          .x_proj = random({s.heads, s.rank + 2 * s.states, s.channels}, 4, dtype),
          .dt_proj = random({s.heads, s.channels, s.rank}, 5, dtype),
          .dt_bias = random({s.heads, s.channels}, 6, dtype),
          .a_log = random({s.heads, s.channels, s.states}, 7, dtype),
          .d = random({s.heads, s.channels}, 8, dtype),
          .out_proj = random({s.heads, s.outputs, s.channels}, 9, dtype),
          .history = Tensor::zeros({s.batch, s.taps - 1, s.heads, s.channels}, dtype, device),
          .scan_state = Tensor::zeros({s.batch, s.heads, s.states, s.channels}, precise, device)};
}

Tensor by_separate_operators(const MambaStep& step) {
  const std::int64_t channels = step.a_log.dim(1);
  const std::int64_t states = step.a_log.dim(2);
  const std::int64_t rank = step.dt_proj.dim(2);
  const Tensor x = step.projected.column_view(0, channels);
  const Tensor z = step.projected.column_view(channels, 2 * channels);
  const Tensor xc = causal_conv_cached(x, step.conv, step.conv_bias, step.history);
  const Tensor mixed = head_linear(xc, step.x_proj);
  const Tensor dt = head_linear(mixed.column_view(0, rank), step.dt_proj, step.dt_bias);
  const Tensor y = selective_scan_cached(xc, dt, step.a_log, mixed.column_view(rank, rank + states),
                                         mixed.column_view(rank + states, rank + 2 * states), step.d, step.scan_state);
  return head_linear(swiglu(z, y), step.out_proj);
}

}  // namespace

TEST_CASE("mamba_step: outputs and states of separate operators, over several tokens") {
  if (!test_device().is_cuda()) {
    MESSAGE("runs with MIXGRAD_DEVICE=cuda");
    return;
  }
  for (const MambaSizes& s : kMambaSizes) {
    CAPTURE(s.channels);
    for (const DType dtype : {DType::f32, DType::bf16}) {
      CAPTURE(dtype_name(dtype));
      const double tolerance = dtype == DType::bf16 ? 3e-2 : 1e-5;
      for (const bool at_rest : {false, true}) {
        Context settings = context();
        settings.weights_at_rest = at_rest;
        MambaStep fused = random_mamba_step(s, dtype);
        MambaStep separate = fused;
        separate.history = fused.history.clone();
        separate.scan_state = fused.scan_state.clone();
        for (std::uint64_t token = 0; token < 7; ++token) {
          CAPTURE(token);
          fused.projected.copy_from(random_tensor(fused.projected.shape(), 100 + token).to(dtype).to(test_device()));
          const Tensor want = by_separate_operators(separate).to(kCpu);
          const ContextScope scope(settings);
          const std::optional<Tensor> got = mamba_step(fused);
          REQUIRE(got);
          CHECK(not_close_to_scale(got->to(kCpu), want, tolerance, largest_of(want)) == kNothing);
          CHECK(fused.history.equal_bits(separate.history));
          const Tensor state = separate.scan_state.to(kCpu);
          CHECK(not_close_to_scale(fused.scan_state.to(kCpu), state, tolerance, largest_of(state)) == kNothing);
        }
      }
    }
  }
}

// What a mixed layer does: the columns of the heads are a row view of a longer product, and a kernel that needs nothing
// of them is queued in between.
TEST_CASE("mamba_step beside the kernel before it: outputs and states of the step by itself, bit for bit") {
  if (!test_device().is_cuda()) {
    MESSAGE("runs with MIXGRAD_DEVICE=cuda");
    return;
  }
  for (const MambaSizes& s : {MambaSizes{1, 12, 64, 16, 4, 4, 64}, MambaSizes{3, 2, 64, 16, 2, 4, 32}}) {
    for (const DType dtype : {DType::f32, DType::bf16}) {
      MambaStep alone = random_mamba_step(s, dtype);
      MambaStep beside = alone;
      beside.history = alone.history.clone();
      beside.scan_state = alone.scan_state.clone();
      const std::int64_t width = s.heads * 2 * s.channels;
      const Tensor other = random_tensor({1, 4096, 512}, 11).to(dtype).to(test_device());
      for (std::uint64_t token = 0; token < 20; ++token) {
        const Tensor packed = random_tensor({s.batch, 1, width + 64}, 100 + token).to(dtype).to(test_device());
        alone.projected = packed.column_view(64, 64 + width).clone().reshape({s.batch, 1, s.heads, 2 * s.channels});
        const Tensor want = *mamba_step(alone);
        beside.projected = packed.column_view(64, 64 + width);
        beside.out_beside = Tensor::empty(want.shape(), dtype, test_device());
        const Tensor between = silu(other);
        const std::optional<Tensor> got = mamba_step(beside);
        REQUIRE(got);
        const Tensor after = add(*got, *got);  // waits for both
        CHECK(after.to(kCpu).equal_bits(add(want, want).to(kCpu)));
        CHECK(between.to(kCpu).equal_bits(silu(other).to(kCpu)));
        CHECK(beside.history.to(kCpu).equal_bits(alone.history.to(kCpu)));
        CHECK(beside.scan_state.to(kCpu).equal_bits(alone.scan_state.to(kCpu)));
      }
    }
  }
}

TEST_CASE("mamba_step: what has no kernel is left to the separate operators, and sizes that do not fit are errors") {
  MambaStep step = random_mamba_step({1, 2, 64, 16, 2, 4, 32}, DType::f32);
  CHECK(mamba_step(step).has_value() == test_device().is_cuda());
  CHECK_FALSE(mamba_step(random_mamba_step({1, 1, 520, 16, 2, 4, 32}, DType::f32)));  // more channels than threads
  CHECK_FALSE(mamba_step(random_mamba_step({1, 1, 12, 16, 2, 4, 32}, DType::bf16)));  // no whole chunks
  MambaStep short_state = step;
  short_state.scan_state = step.scan_state.slice(0, 0);
  CHECK_THROWS_AS(mamba_step(short_state), ShapeError);
  MambaStep beside = step;
  beside.out_beside = Tensor::empty({1, 1, 2, 31}, DType::f32, test_device());
  CHECK_THROWS_WITH_AS(mamba_step(beside), "mamba_step: out_beside must be [1,1,2,32], got [1,1,2,31]", ShapeError);
  beside.out_beside = Tensor::empty({1, 1, 2, 32}, DType::bf16, test_device());
  CHECK_THROWS_WITH_AS(mamba_step(beside), "mamba_step: out_beside must be f32 like the first input, got bf16",
                       DTypeError);
  beside.out_beside = Tensor::empty({1, 1, 2, 40}, DType::f32, test_device()).column_view(0, 32);
  CHECK_THROWS_WITH_AS(mamba_step(beside),
                       "mamba_step: out_beside must be contiguous, got a row view [1,1,2,32]; clone() it first",
                       ShapeError);
  Tape tape;
  tape.watch(step.out_proj);
  CHECK_FALSE(mamba_step(step));
}

}  // namespace mixgrad::test
