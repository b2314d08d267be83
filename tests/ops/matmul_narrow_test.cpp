// Products of bf16 with one long axis and two short ones on CUDA: against the same sums in plain loops in f64.
#include <doctest/doctest.h>

#include <vector>

#include "ops/cases/cases.h"
#include "ops/head_linear/head_linear_products.h"
#include "tests/support/close.h"
#include "tests/support/device.h"

#if defined(MIXGRAD_CUDA)

#include "ops/matmul/matmul_cuda.h"
#include "ops/matmul/matmul_narrow.h"

namespace mixgrad::test {
namespace {

// Rows around a block and a warp's tile; columns that fill no tile; an inner axis below one step of the tensor cores.
struct Narrow {
  std::int64_t rows, heads, out, in;
};
const std::vector<Narrow> kSizes{{64, 2, 2, 2},     {65, 3, 36, 64},   {255, 2, 64, 4},
                                 {256, 1, 8, 128},  {257, 5, 64, 64},  {700, 2, 34, 18},
                                 {129, 2, 128, 66}, {5000, 6, 36, 64}, {4096, 2, 66, 128}};

// A part of the columns of a row for each head, which begins at no multiple of 16 bytes.
Tensor packed_heads(const Narrow& s, std::int64_t width, int seed) {
  return random_tensor({1, s.rows, s.heads, width + 6}, static_cast<std::uint64_t>(seed)).to(DType::bf16);
}

// On the host, and x and dy on the device as column views of their rows.
struct Operands {
  Tensor x, weight, dy, bias, x_there, dy_there;

  explicit Operands(const Narrow& s)
      : x(packed_heads(s, s.in, 1)),
        weight(random_tensor({s.heads, s.out, s.in}, 2).to(DType::bf16)),
        dy(packed_heads(s, s.out, 3)),
        bias(random_tensor({s.heads, s.out}, 4).to(DType::bf16)),
        x_there(x.to(test_device()).column_view(2, 2 + s.in)),
        dy_there(dy.to(test_device()).column_view(2, 2 + s.out)) {}
  Tensor there(const Tensor& host, std::int64_t width) const {
    return host.to(test_device()).column_view(2, 2 + width);
  }
};

void check_same(const Tensor& got, const Tensor& want, double tolerance) {
  CHECK(not_close_to_scale(got.to(kCpu), want, tolerance, largest_of(want)) == kNothing);
}

void check_forward(const Narrow& s, const Operands& o, bool add) {
  const Tensor weight = o.weight.to(test_device());
  const Tensor bias = o.bias.to(test_device());
  const Tensor before = random_tensor({1, s.rows, s.heads, s.out}, 5).to(DType::bf16);
  const Tensor want = Tensor::empty(before.shape(), DType::f64);
  for (std::int64_t row = 0; row < s.rows * s.heads; ++row) {
    const std::int64_t h = row % s.heads;
    for (std::int64_t n = 0; n < s.out; ++n) {
      double sum = o.bias.at(h * s.out + n) + (add ? before.at(row * s.out + n) : 0);
      for (std::int64_t i = 0; i < s.in; ++i) {
        sum += o.x.at(row * (s.in + 6) + 2 + i) * o.weight.at((h * s.out + n) * s.in + i);
      }
      want.set(row * s.out + n, sum);
    }
  }
  const auto run = [&] {
    const Tensor y =
        add ? before.to(test_device()) : Tensor::full(before.shape(), DType::bf16, std::nan(""), test_device());
    const Product<bf16, bf16> product = head_linear_product<bf16>(o.x_there, weight, bias, add, y);
    CHECK(cuda::narrow_takes(product, test_device()));
    cuda::narrow(product, test_device());
    return y;
  };
  const Tensor got = run();
  CHECK(run().to(kCpu).equal_bits(got.to(kCpu)));
  check_same(got, want, 5e-3);
}

void check_dx(const Narrow& s, const Operands& o, bool add) {
  const Tensor weight = o.weight.to(test_device());
  const Tensor before = random_tensor({1, s.rows, s.heads, s.in}, 6).to(DType::bf16);
  const Tensor want = Tensor::empty(before.shape(), DType::f64);
  for (std::int64_t row = 0; row < s.rows * s.heads; ++row) {
    const std::int64_t h = row % s.heads;
    for (std::int64_t i = 0; i < s.in; ++i) {
      double sum = add ? before.at(row * s.in + i) : 0;
      for (std::int64_t n = 0; n < s.out; ++n) {
        sum += o.dy.at(row * (s.out + 6) + 2 + n) * o.weight.at((h * s.out + n) * s.in + i);
      }
      want.set(row * s.in + i, sum);
    }
  }
  const Tensor dx =
      add ? before.to(test_device()) : Tensor::full(before.shape(), DType::bf16, std::nan(""), test_device());
  const Product<bf16, bf16> product = head_linear_dx_product<bf16>(weight, o.dy_there, dx, add);
  CHECK(cuda::narrow_takes(product, test_device()));
  cuda::narrow(product, test_device());
  check_same(dx, want, 5e-3);
}

void check_dweight(const Narrow& s, const Operands& o, bool add) {
  const Tensor before = random_tensor({s.heads, s.out, s.in}, 7).to(DType::f32);
  const Tensor want = Tensor::empty(before.shape(), DType::f64);
  for (std::int64_t h = 0; h < s.heads; ++h) {
    for (std::int64_t n = 0; n < s.out; ++n) {
      for (std::int64_t i = 0; i < s.in; ++i) {
        double sum = add ? before.at((h * s.out + n) * s.in + i) : 0;
        for (std::int64_t r = 0; r < s.rows; ++r) {
          const std::int64_t row = r * s.heads + h;
          sum += o.dy.at(row * (s.out + 6) + 2 + n) * o.x.at(row * (s.in + 6) + 2 + i);
        }
        want.set((h * s.out + n) * s.in + i, sum);
      }
    }
  }
  const auto run = [&] {
    const Tensor dweight =
        add ? before.to(test_device()) : Tensor::full(before.shape(), DType::f32, std::nan(""), test_device());
    const Product<bf16, float> product = head_linear_dweight_product<bf16>(o.x_there, o.dy_there, dweight, add);
    CHECK(cuda::narrow_takes(product, test_device()) == (s.heads > 1));
    cuda::narrow(product, test_device());
    return dweight;
  };
  const Tensor got = run();
  CHECK(run().to(kCpu).equal_bits(got.to(kCpu)));
  check_same(got, want, 1e-5);
}

}  // namespace

TEST_CASE("narrow products of heads: forward, both gradients, with strides and accumulation, the same bits again") {
  if (!test_device().is_cuda()) {
    MESSAGE("runs with MIXGRAD_DEVICE=cuda");
    return;
  }
  for (const Narrow& s : kSizes) {
    CAPTURE(s.rows);
    CAPTURE(s.out);
    CAPTURE(s.in);
    const Operands operands(s);
    for (const bool add : {false, true}) {
      CAPTURE(add);
      if (s.heads > 1) check_forward(s, operands, add);
      if (s.heads > 1) check_dx(s, operands, add);
      check_dweight(s, operands, add);
    }
  }
}

}  // namespace mixgrad::test

#endif
