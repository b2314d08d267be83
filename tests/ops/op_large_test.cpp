// What takes inputs too large for a difference in each element: paths that open only beyond a block of an operator.
// Checked along random directions, against the oracle, and for the same bits with 1, 2 and 3 threads.
#include <doctest/doctest.h>

#include <cmath>
#include <string>
#include <vector>

#include "autograd/gradcheck.h"
#include "autograd/tape.h"
#include "core/allocator.h"
#include "core/cuda/cuda.h"
#include "ops/attention/attention.h"
#include "ops/cases/cases.h"
#include "ops/elementwise/elementwise.h"
#include "ops/embedding/embedding.h"
#include "ops/embedding/embedding_kernels.h"
#include "ops/layer_norm/layer_norm.h"
#include "ops/linear/linear.h"
#include "ops/linear_cross_entropy/linear_cross_entropy.h"
#include "ops/rms_norm/rms_norm.h"
#include "ops/rope/rope.h"
#include "ops/shift_mix/shift_mix.h"
#include "tests/support/close.h"
#include "tests/support/op_support.h"

namespace mixgrad::test {
namespace {

void check_large(const std::vector<Tensor>& inputs, const Function& run) {
  const GradcheckReport report = gradcheck_direction(inputs, run, {.directions = 1, .device = test_device()});
  CHECK(report.failures() == kNothing);
  for (const GradcheckRow& row : report.rows) CHECK(row.sabotage_caught);

  OpCase c{"", inputs, run, {}};
  const Results in_f64 = run_with_gradients(run, rounded_inputs(c, DType::f32));
  std::vector<Results> results;
  for (const int count : {1, 2, 3}) {
    const Threads used(count);
    results.push_back(run_with_gradients(run, inputs_as(c, DType::f32)));
  }
  for (std::size_t i = 0; i < in_f64.gradients.size(); ++i) {
    CAPTURE(i);
    const double scale = largest_of(in_f64.gradients[i]);
    const std::string difference = not_close_to_scale(results[0].gradients[i], in_f64.gradients[i], 1e-4, scale);
    CHECK(difference == kNothing);
    for (const Results& other : results) CHECK(other.gradients[i].equal_bits(results[0].gradients[i]));
  }
}

}  // namespace

// The logits of a chunk of rows exist at a time: at least 64 rows, about 2^20 logits.
TEST_CASE("linear_cross_entropy: several chunks of rows, the last one not full") {
  const Tensor targets = random_tokens({150}, 17000, 3);
  for (const int ignored : {0, 70, 71, 149}) targets.set(ignored, -1);
  check_large({random_tensor({150, 3}, 1), random_tensor({17000, 3}, 2)}, [=](std::span<const Tensor> in) {
    return std::vector{linear_cross_entropy(in[0], in[1], targets.to(in[0].device()))};
  });
}

TEST_CASE("linear_cross_entropy: several chunks give the loss of the rows one by one") {
  const Tensor x = random_tensor({150, 3}, 1);
  const Tensor weight = random_tensor({17000, 3}, 2);
  const Tensor targets = random_tokens({150}, 17000, 3);
  targets.set(100, -1);
  double sum = 0;
  for (std::int64_t r = 0; r < 150; ++r) {
    sum += linear_cross_entropy(x.slice(r, r + 1), weight, targets.slice(r, r + 1)).item();
  }
  CHECK(std::abs(linear_cross_entropy(x, weight, targets).item() - sum / 149) < 1e-12 * sum / 149);
}

TEST_CASE("linear_cross_entropy: several chunks, x and weight the same tensor") {
  const Tensor targets = random_tokens({1100}, 1100, 3);
  check_large({random_tensor({1100, 3}, 1)}, [=](std::span<const Tensor> in) {
    return std::vector{linear_cross_entropy(in[0], in[0], targets.to(in[0].device()))};
  });
}

// CUDA sorts the rows by their ids when the table has more than 2,048 rows.
TEST_CASE("embedding: a large vocabulary, with repeated ids, one id everywhere, and ids used once") {
  const auto check = [](const Tensor& tokens, std::int64_t vocabulary, std::int64_t width) {
    check_large(
        {random_tensor({vocabulary, width}, 1), random_tensor({tokens.dim(1), width}, 2)},
        [=](std::span<const Tensor> in) { return std::vector{embedding(tokens.to(in[0].device()), in[0], in[1])}; });
  };
  check(random_tokens({3, 700}, 5000, 3), 5000, 5);
  check(random_tokens({2, 600}, 40, 3), 2049, 130);
  check(Tensor::full({2, 300}, DType::i32, 2999), 3000, 7);
  const Tensor once = Tensor::empty({1, 1000}, DType::i32);
  for (std::int64_t t = 0; t < 1000; ++t) once.set(t, static_cast<double>((t * 7919 + 13) % 4096));
  check(once, 4096, 3);
  check(Tensor::full({1, 1}, DType::i32, 2049), 2050, 1);
}

#if defined(MIXGRAD_CUDA)

// Small tables (a block for each id) and large ones (sorted).
TEST_CASE("embedding on CUDA: tokens outside the vocabulary get no gradient; written and added, from a row view") {
  if (!test_device().is_cuda()) {
    MESSAGE("runs with MIXGRAD_DEVICE=cuda");
    return;
  }
  for (const std::int64_t vocabulary : {9, 2048, 2049, 40000}) {
    for (const DType dtype : {DType::f64, DType::f32, DType::bf16}) {
      for (const bool add : {false, true}) {
        CAPTURE(vocabulary);
        CAPTURE(add);
        const std::int64_t width = 200;
        const DType sums = accumulation_dtype(dtype);
        const Tensor tokens = random_tokens({2, 333}, 9, 4);
        for (const std::int64_t i : {0, 5, 300, 665}) tokens.set(i, static_cast<double>(vocabulary - 1));
        tokens.set(1, -1);
        tokens.set(7, static_cast<double>(vocabulary));
        tokens.set(8, 2147483647);
        tokens.set(9, -2147483648.0);
        const Tensor packed = random_tensor({2, 333, width + 3}, 5).to(dtype);
        const Tensor want = Tensor::full({vocabulary, width}, DType::f64, add ? 1 : 0);
        for (std::int64_t r = 0; r < 666; ++r) {
          const auto id = static_cast<std::int64_t>(tokens.at(r));
          if (id < 0 || id >= vocabulary) continue;
          for (std::int64_t c = 0; c < width; ++c) {
            want.set(id * width + c, want.at(id * width + c) + packed.at(r * (width + 3) + 3 + c));
          }
        }
        const Tensor dy = packed.to(test_device()).column_view(3, width + 3);
        const Tensor got = Tensor::full({vocabulary, width}, sums, add ? 1 : std::nan(""), test_device());
        cuda::embedding_backward(tokens.to(test_device()), 0, dy, {got, add}, {});
        const std::string difference = not_close(got.to(kCpu), want, sums == DType::f64 ? 1e-13 : 1e-5);
        CHECK(difference == kNothing);
      }
    }
  }
}

TEST_CASE("embedding on CUDA: the sort can be part of a captured graph, which sorts anew what the tokens are then") {
  if (!test_device().is_cuda()) {
    MESSAGE("runs with MIXGRAD_DEVICE=cuda");
    return;
  }
  const auto drawn = [](std::uint64_t seed) { return random_tokens({2, 500}, 3000, seed).to(test_device()); };
  const Tensor dy = random_tensor({2, 500, 33}, 5).to(DType::f32).to(test_device());
  const auto gradient_of = [&](const Tensor& tokens) {
    const Tensor to = Tensor::full({3000, 33}, DType::f32, std::nan(""), test_device());
    cuda::embedding_backward(tokens, 0, dy, {to, false}, {});
    return to.to(kCpu);
  };
  const Tensor first = gradient_of(drawn(1));
  const Tensor second = gradient_of(drawn(2));
  const Tensor tokens = drawn(1).clone();
  const Tensor got = Tensor::full({3000, 33}, DType::f32, std::nan(""), test_device());
  PrivatePool pool(test_device());
  cuda::Graph graph;
  {
    const PrivatePool::Scope scope(pool);
    cuda::Graph::Capture capture(graph, test_device());
    cuda::embedding_backward(tokens, 0, dy, {got, false}, {});
    capture.finish();
  }
  graph.launch();
  CHECK(got.to(kCpu).equal_bits(first));
  tokens.copy_from(drawn(2));
  graph.launch();
  CHECK(got.to(kCpu).equal_bits(second));
}

#endif

TEST_CASE("attention: several blocks of queries and heads, packed, with and without a window") {
  for (const std::int64_t window : {0, 100}) {
    check_large({random_tensor({2, 200, 8 * 8}, 1)}, [=](std::span<const Tensor> in) {
      return std::vector{attention(columns(in[0], 0, 32), columns(in[0], 32, 48), columns(in[0], 48, 64),
                                   {.heads = 4, .kv_heads = 2, .window = window})};
    });
  }
}

TEST_CASE("attention: q and k are overlapping views of one tensor, with fewer key heads than query heads") {
  check_large({random_tensor({1, 200, 32}, 1)}, [](std::span<const Tensor> in) {
    return std::vector{
        attention(columns(in[0], 0, 32), columns(in[0], 0, 16), columns(in[0], 16, 32), {.heads = 4, .kv_heads = 2})};
  });
}

TEST_CASE("linear: blocks in all three dimensions") {
  check_large({random_tensor({3, 150, 520}, 1), random_tensor({310, 520}, 2), random_tensor({310}, 3)},
              [](std::span<const Tensor> in) { return std::vector{linear(in[0], in[1], in[2])}; });
}

TEST_CASE("norms: many rows of a model's width") {
  const std::vector<Tensor> inputs{random_tensor({2, 100, 384}, 1), random_tensor({2, 100, 384}, 2),
                                   random_tensor({384}, 3), random_tensor({384}, 4)};
  check_large(inputs, [](std::span<const Tensor> in) {
    const SumAndNorm a = add_layer_norm(in[0], in[1], in[2], in[3], 1e-5);
    const SumAndNorm b = add_rms_norm(a.sum, a.normed, in[3], 1e-5);
    return std::vector{b.sum, layer_norm(b.normed, in[3], in[2], 1e-5), rms_norm(a.normed, in[2], 1e-5)};
  });
}

TEST_CASE("a small model: every operator on one tape, weights tied, everything packed") {
  const std::int64_t width = 16;
  const Tensor tokens = random_tokens({2, 40}, 50, 1);
  const Tensor targets = random_tokens({2, 40}, 50, 2);
  const std::vector<Tensor> parameters{
      random_tensor({50, width}, 3), random_tensor({40, width}, 4),        random_tensor({width}, 5),
      random_tensor({width}, 6),     random_tensor({3 * width, width}, 7), random_tensor({2 * 24, width}, 8),
      random_tensor({width, 24}, 9), random_tensor({width}, 10),           random_tensor({4}, 11),
      random_tensor({4}, 12)};
  const auto run = [=](std::span<const Tensor> p) {
    const std::vector<std::int64_t> shifts{1, 2, 5, 50};
    const Tensor x = embedding(tokens.to(p[0].device()), p[0], p[1]);
    const Tensor u = layer_norm(x, p[2], p[3], 1e-5);
    const Tensor qkv = linear(u, p[4]);
    const Tensor turned = rope(columns(qkv, 0, 2 * width), {.heads = 8, .head_dim = 4});
    const Tensor attended = attention(columns(turned, 0, width), columns(turned, width, 2 * width),
                                      columns(qkv, 2 * width, 3 * width), {.heads = 4, .kv_heads = 4, .window = 9});
    const Tensor shifted = shift_mix(u, p[8], p[9], {.shifts = shifts, .boundary = Boundary::self});
    const SumAndNorm next = add_rms_norm(x, add(attended, shifted), p[7], 1e-5);
    const Tensor packed = linear(next.normed, p[5]);
    const Tensor hidden = add(swiglu(columns(packed, 0, 24), columns(packed, 24, 48)),
                              add(gelu(columns(packed, 0, 24)), gelu_erf(columns(packed, 12, 36))));
    const SumAndNorm last = add_layer_norm(next.sum, linear(hidden, p[6]), p[2], p[3], 1e-5);
    return std::vector{linear_cross_entropy(silu(last.normed), p[0], targets.to(p[0].device()))};
  };
  check_large(parameters, run);
}

}  // namespace mixgrad::test
