// Products of few rows on CUDA, which have kernels of their own: against the same product in f64 on the CPU.
#include <doctest/doctest.h>

#include <string>
#include <vector>

#include "ops/cases/cases.h"
#include "ops/elementwise/elementwise.h"
#include "ops/linear/linear.h"
#include "ops/linear/linear_products.h"
#include "tests/support/close.h"
#include "tests/support/device.h"

#if defined(MIXGRAD_CUDA)

#include "ops/matmul/matvec_cuda.h"

namespace mixgrad::test {
namespace {

struct VectorSizes {
  std::int64_t columns, k;
};

// Sums of one lane and of four slices, results of one and of many blocks, a number of columns that fills no block.
const std::vector<VectorSizes> kVectorSizes{{1, 8},       {7, 8},       {65, 384},   {384, 1536},
                                            {768, 768},   {768, 3072},  {2304, 768}, {3072, 768},
                                            {5000, 2048}, {50257, 256}, {130, 8200}, {16385, 1032}};

template <class In, class Out>
void check_product(std::int64_t rows, const VectorSizes& s) {
  const DType in = dtype_of<In>();
  const std::int64_t pad = 16;  // unused elements behind each row
  const Tensor x = random_tensor({rows, s.k + pad}, 1).to(in);
  const Tensor weight = random_tensor({s.columns, s.k + pad}, 2).to(in);
  const Tensor bias = random_tensor({s.columns}, 3).to(in);
  const Tensor before = random_tensor({rows, s.columns}, 4).to(dtype_of<Out>());
  const Tensor x_there = x.to(test_device());
  const Tensor weight_there = weight.to(test_device());
  const Tensor bias_there = bias.to(test_device());
  for (const bool add : {false, true}) {
    CAPTURE(add);
    const auto run = [&] {
      const Tensor y =
          add ? before.to(test_device()) : Tensor::full(before.shape(), before.dtype(), std::nan(""), test_device());
      auto product = linear_product(Rows<In>(x_there.column_view(0, s.k)), Rows<In>(weight_there.column_view(0, s.k)),
                                    Rows<Out>(y), add);
      product.bias = bias_there.template data<In>();
      product.alpha = 0.5F;
      CHECK(cuda::matvec_takes(product));
      cuda::matvec(product, test_device());
      return y.to(kCpu);
    };
    const Tensor got = run();
    CHECK(run().equal_bits(got));
    const auto precise = [&](const Tensor& padded) { return padded.column_view(0, s.k).clone().to(DType::f64); };
    const Tensor sums = linear(precise(x), precise(weight));
    const Tensor want = Tensor::empty({rows, s.columns}, DType::f64);
    for (std::int64_t i = 0; i < want.numel(); ++i) {
      want.set(i, 0.5 * sums.at(i) + bias.at(i % s.columns) + (add ? before.at(i) : 0));
    }
    const double tolerance = std::is_same_v<Out, bf16> ? 5e-3 : 2e-6;
    CHECK(not_close_to_scale(got, want, tolerance, largest_of(want)) == kNothing);
  }
}

}  // namespace

TEST_CASE("matvec: products of 1 to 8 rows, with strides, bias and accumulation, the same bits again") {
  if (!test_device().is_cuda()) {
    MESSAGE("runs with MIXGRAD_DEVICE=cuda");
    return;
  }
  for (const VectorSizes& s : kVectorSizes) {
    CAPTURE(s.columns);
    CAPTURE(s.k);
    for (const std::int64_t rows : {1, 2, 3, 4, 5, 6, 7, 8}) {
      if (rows > 2 && s.columns * s.k > 4000000 && rows != 8) continue;
      CAPTURE(rows);
      check_product<float, float>(rows, s);
      check_product<bf16, bf16>(rows, s);
      check_product<bf16, float>(rows, s);
    }
  }
}

TEST_CASE("linear_gelu: the bits of gelu after linear, with and without bias") {
  for (const DType dtype : {DType::f64, DType::f32, DType::bf16}) {
    for (const std::int64_t rows : {1, 3, 8, 9}) {
      CAPTURE(rows);
      const Tensor x = random_tensor({rows, 1, 64}, 1).to(dtype).to(test_device());
      const Tensor weight = random_tensor({200, 64}, 2).to(dtype).to(test_device());
      const Tensor bias = random_tensor({200}, 3).to(dtype).to(test_device());
      CHECK(linear_gelu(x, weight, bias).equal_bits(gelu(linear(x, weight, bias))));
      CHECK(linear_gelu(x, weight).equal_bits(gelu(linear(x, weight))));
    }
  }
}

TEST_CASE("matvec: f64, more rows, and rows that are not whole chunks of 16 bytes are computed by cuBLASLt") {
  std::vector<float> memory(4096);
  const auto product = [&](std::int64_t rows, std::int64_t k) {
    return linear_product(Rows<float>(memory.data(), rows, k, k), Rows<float>(memory.data(), 3, k, k),
                          Rows<float>(memory.data(), rows, 3, 3));
  };
  CHECK(cuda::matvec_takes(product(8, 4)) == (reinterpret_cast<std::uintptr_t>(memory.data()) % 16 == 0));
  CHECK_FALSE(cuda::matvec_takes(product(9, 4)));
  CHECK_FALSE(cuda::matvec_takes(product(8, 6)));
  std::vector<double> doubles(64);
  CHECK_FALSE(
      cuda::matvec_takes(linear_product(Rows<double>(doubles.data(), 1, 4, 4), Rows<double>(doubles.data(), 3, 4, 4),
                                        Rows<double>(doubles.data(), 1, 3, 3))));
}

}  // namespace mixgrad::test

#endif
