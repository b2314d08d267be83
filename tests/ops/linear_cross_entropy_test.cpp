// Loss and gradients in one pass on CUDA, against forward and backward that each compute the logits.
#include <doctest/doctest.h>

#include <cmath>
#include <string>
#include <vector>

#include "ops/cases/cases.h"
#include "ops/linear_cross_entropy/linear_cross_entropy_kernels.h"
#include "tests/support/close.h"
#include "tests/support/device.h"

#if defined(MIXGRAD_CUDA)

namespace mixgrad::test {
namespace {

struct HeadSizes {
  std::int64_t rows, vocabulary, width;
};

struct HeadResults {
  Tensor loss, dx, dweight;  // on the host
};

struct Head {
  Tensor x, weight, targets;
  DType sums;

  Head(const HeadSizes& s, DType dtype, std::int64_t ignored)
      : x(random_tensor({s.rows, s.width}, 1).to(dtype).to(test_device())),
        weight(random_tensor({s.vocabulary, s.width}, 2).to(dtype).to(test_device())),
        sums(dtype == DType::f64 ? DType::f64 : DType::f32) {
    Tensor ids = random_tokens({s.rows}, static_cast<std::int32_t>(s.vocabulary), 3);
    for (std::int64_t i = 0; ignored > 0 && i < ids.numel(); i += ignored) ids.set(i, -1);
    targets = ids.to(test_device());
  }
  Tensor poisoned(const Shape& shape, DType dtype) const {
    return Tensor::full(shape, dtype, std::nan(""), x.device());
  }

  HeadResults fused(std::int64_t chunk, bool with_dx = true, bool with_dweight = true) const {
    const Tensor loss = poisoned({1}, sums);
    const Tensor dx = with_dx ? poisoned(x.shape(), x.dtype()) : Tensor();
    const Tensor dweight = with_dweight ? poisoned(weight.shape(), sums) : Tensor();
    cuda::linear_cross_entropy_fused(chunk, x, weight, targets, loss, dx, dweight);
    return {loss.to(kCpu), with_dx ? dx.to(kCpu) : dx, with_dweight ? dweight.to(kCpu) : dweight};
  }
  HeadResults reference() const {
    const Tensor count = Tensor::zeros({1}, DType::i32, x.device());
    const Tensor lse = poisoned({x.rows()}, sums);
    const Tensor loss = poisoned({1}, sums);
    const Tensor one = Tensor::full({1}, sums, 1.0, x.device());
    const Tensor dx = poisoned(x.shape(), x.dtype());
    const Tensor dweight = poisoned(weight.shape(), sums);
    cuda::linear_cross_entropy_forward(x, weight, targets, count, lse, loss);
    cuda::linear_cross_entropy_backward(x, weight, targets, count, lse, one, {dx, false}, {dweight, false});
    return {loss.to(kCpu), dx.to(kCpu), dweight.to(kCpu)};
  }
};

}  // namespace

TEST_CASE("linear_cross_entropy on CUDA: in one pass it is what forward and backward give, in any chunks") {
  if (!test_device().is_cuda()) {
    MESSAGE("runs with MIXGRAD_DEVICE=cuda");
    return;
  }
  const std::vector<HeadSizes> all{{1, 2, 8},      {5, 65, 24},     {300, 65, 16},   {200, 1024, 8}, {200, 1030, 8},
                                   {130, 5000, 7}, {300, 9001, 40}, {70, 50257, 16}, {513, 300, 9}};
  for (const HeadSizes& s : all) {
    CAPTURE(s.rows);
    CAPTURE(s.vocabulary);
    for (const DType dtype : {DType::f64, DType::f32, DType::bf16}) {
      const std::string type = dtype_name(dtype);
      CAPTURE(type);
      for (const std::int64_t ignored : {0, 3, 1}) {
        CAPTURE(ignored);
        const Head head(s, dtype, ignored);
        const HeadResults want = head.reference();
        const HeadResults whole = head.fused(0);
        // logits of a large vocabulary are rounded to bf16: of 8 at most, by 2^-6
        const bool rounded = dtype == DType::bf16 && s.vocabulary > 8192;
        const double of_loss = dtype == DType::f64 ? 1e-13 : rounded ? 2e-3 : 2e-6;
        const double of_gradient = dtype == DType::f64 ? 1e-12 : dtype == DType::f32 ? 2e-5 : 3e-2;
        CHECK(not_close(whole.loss, want.loss, of_loss) == kNothing);
        CHECK(not_close_to_scale(whole.dx, want.dx, of_gradient, std::max(1e-30, largest_of(want.dx))) == kNothing);
        CHECK(not_close_to_scale(whole.dweight, want.dweight, of_gradient, std::max(1e-30, largest_of(want.dweight))) ==
              kNothing);
        const HeadResults again = head.fused(0);
        CHECK(again.loss.equal_bits(whole.loss));
        CHECK(again.dx.equal_bits(whole.dx));
        CHECK(again.dweight.equal_bits(whole.dweight));
        const HeadResults pieces = head.fused(100);
        CHECK(not_close(pieces.loss, want.loss, of_loss) == kNothing);
        CHECK(not_close_to_scale(pieces.dx, want.dx, of_gradient, std::max(1e-30, largest_of(want.dx))) == kNothing);
        CHECK(not_close_to_scale(pieces.dweight, want.dweight, of_gradient,
                                 std::max(1e-30, largest_of(want.dweight))) == kNothing);
        CHECK(head.fused(0, true, false).dx.equal_bits(whole.dx));
        CHECK(head.fused(0, false, true).dweight.equal_bits(whole.dweight));
        CHECK(head.fused(0, false, false).loss.equal_bits(whole.loss));
      }
    }
  }
}

TEST_CASE("linear_cross_entropy on CUDA: gradients are multiplied by the cotangent, written or added") {
  if (!test_device().is_cuda()) {
    MESSAGE("runs with MIXGRAD_DEVICE=cuda");
    return;
  }
  for (const DType dtype : {DType::f64, DType::f32, DType::bf16}) {
    for (const Shape& shape : {Shape{3, 5}, Shape{16, 64}}) {  // cells, and chunks of 16 bytes
      const Tensor gradient = random_tensor(shape, 1).to(dtype);
      const Tensor before = random_tensor(shape, 2).to(dtype);
      const Tensor dloss = Tensor::full({1}, dtype == DType::f64 ? DType::f64 : DType::f32, 0.25, test_device());
      for (const bool add : {false, true}) {
        const Tensor got = add ? before.to(test_device()) : Tensor::full(shape, dtype, std::nan(""), test_device());
        cuda::linear_cross_entropy_scale(gradient.to(test_device()), dloss, {got, add});
        const Tensor want = Tensor::empty(shape, DType::f64);
        for (std::int64_t i = 0; i < want.numel(); ++i) want.set(i, 0.25 * gradient.at(i) + (add ? before.at(i) : 0));
        CHECK(not_close(got.to(kCpu), want, dtype == DType::bf16 ? 4e-3 : 1e-7) == kNothing);
      }
    }
  }
}

}  // namespace mixgrad::test

#endif
