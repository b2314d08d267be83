// Shapes, element types, tensors and their views.
#include <doctest/doctest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include "core/dtype.h"
#include "core/error.h"
#include "core/rng.h"
#include "core/shape.h"
#include "core/tensor.h"
#include "tests/support/close.h"

namespace mixgrad::test {
namespace {

constexpr float kInfinityF32 = std::numeric_limits<float>::infinity();
constexpr float kNanF32 = std::numeric_limits<float>::quiet_NaN();

// 0, 1, 2, ... in row-major order.
Tensor counted(const Shape& shape, DType dtype = DType::f64) {
  Tensor tensor = Tensor::empty(shape, dtype);
  for (std::int64_t i = 0; i < tensor.numel(); ++i) tensor.set(i, static_cast<double>(i));
  return tensor;
}

using Values = std::vector<double>;

}  // namespace

TEST_CASE("dtype: a double becomes bf16 in one rounding") {
  CHECK(static_cast<float>(bf16(1.0 + 0x1p-8 + 0x1p-40)) == 1.0078125F);  // above the tie, though a float sees the tie
  CHECK(static_cast<float>(bf16(1.0 + 0x1p-8)) == 1.0F);                  // the tie goes to even
  CHECK(static_cast<float>(bf16(-1.0 - 0x1p-8 - 0x1p-40)) == -1.0078125F);
  CHECK(static_cast<float>(bf16(1.0 + 0x1p-8 - 0x1p-40)) == 1.0F);
  CHECK(std::isinf(static_cast<float>(bf16(1e300))));
  CHECK(std::isnan(static_cast<float>(bf16(std::nan("")))));
}

TEST_CASE("tensor: sizes whose product does not fit are refused") {
  const std::int64_t big = std::int64_t{1} << 32U;
  CHECK_THROWS_AS(Tensor::empty({big, big}, DType::f32), ShapeError);
  CHECK_THROWS_AS(Tensor::empty({big, 0, big}, DType::f32), ShapeError);
}

TEST_CASE("shape: sizes, rows and columns, and axes counted from the end") {
  const Shape shape{2, 3, 4};
  CHECK(shape.rank() == 3);
  CHECK(shape[0] == 2);
  CHECK(shape[-1] == 4);
  CHECK(shape[-3] == 2);
  CHECK(shape.numel() == 24);
  CHECK(shape.cols() == 4);
  CHECK(shape.rows() == 6);
  CHECK(shape.str() == std::string("[2,3,4]"));
  CHECK(shape.with_last(7) == Shape({2, 3, 7}));
}

TEST_CASE("shape: a scalar has one element, a size of 0 none") {
  const Shape scalar;
  CHECK(scalar.rank() == 0);
  CHECK(scalar.numel() == 1);
  CHECK(scalar.rows() == 1);
  CHECK(scalar.cols() == 1);
  CHECK(scalar.str() == std::string("[]"));
  const Shape empty{3, 0};
  CHECK(empty.numel() == 0);
  CHECK(empty.rows() == 0);
  CHECK(Shape({0, 3}).rows() == 0);
  CHECK(Shape({5}).rows() == 1);
}

TEST_CASE("shape: equal means the same rank and sizes") {
  CHECK(Shape({2, 3}) == Shape({2, 3}));
  CHECK(!(Shape({2, 3}) == Shape({3, 2})));
  CHECK(!(Shape({2, 3}) == Shape({2, 3, 1})));
  CHECK(Shape() == Shape());
  CHECK(!(Shape() == Shape({1})));
}

TEST_CASE("shape: too many axes and negative sizes are errors") {
  CHECK(error_text<ShapeError>([] { Shape({1, 2, 3, 4, 5, 6}); }) == std::string("shape: at most 5 axes, got 6"));
  CHECK(error_text<ShapeError>([] {
          Shape({1, -2});
        }) == std::string("shape: sizes must be at least 0, got -2 for axis 1"));
  CHECK(error_text<ShapeError>([] { Shape().with_last(3); }) ==
        std::string("shape: a scalar has no innermost axis to change"));
}

TEST_CASE("bf16: every one of the 65536 values survives the way through float") {
  int changed = 0;
  for (std::uint32_t bits = 0; bits < 65536; ++bits) {
    bf16 value;
    value.bits = static_cast<std::uint16_t>(bits);
    const auto wide = static_cast<float>(value);
    const bf16 back(wide);
    const bool same = std::isnan(wide) ? std::isnan(static_cast<float>(back)) : back.bits == value.bits;
    if (!same) ++changed;
  }
  CHECK(changed == 0);
}

TEST_CASE("bf16: rounding is to nearest, ties to even") {
  const auto rounded = [](float x) { return static_cast<float>(bf16(x)); };
  CHECK(rounded(1.0F) == 1.0F);
  CHECK(rounded(1.0F + 0x1p-8F) == 1.0F);                       // a tie, down to even
  CHECK(rounded(1.0F + 0x3p-8F) == 1.0F + 0x1p-6F);             // a tie, up to even
  CHECK(rounded(1.0F + 0x1p-8F + 0x1p-23F) == 1.0F + 0x1p-7F);  // just above
  CHECK(rounded(1.0F + 0x3p-8F - 0x1p-23F) == 1.0F + 0x1p-7F);  // just below
  CHECK(rounded(-1.0F - 0x1p-8F) == -1.0F);
  CHECK(rounded(-1.0F - 0x3p-8F) == -1.0F - 0x1p-6F);
  CHECK(rounded(0x1.ffp0F) == 2.0F);  // into the next binade
  CHECK(std::signbit(rounded(-0.0F)));
}

TEST_CASE("bf16: no neighbour is nearer than what is chosen, for random floats of all sizes") {
  Rng rng(1);
  int wrong = 0;
  for (int i = 0; i < 100000; ++i) {
    const std::uint32_t word = rng.next()[0];
    float x = 0;
    std::memcpy(&x, &word, sizeof x);
    if (!std::isfinite(x)) continue;
    const bf16 chosen(x);
    if (std::isinf(static_cast<float>(chosen))) continue;  // nearer to 2^128 than to the largest bf16
    const double error = std::abs(static_cast<double>(x) - static_cast<double>(static_cast<float>(chosen)));
    for (const int step : {-1, 1}) {
      bf16 neighbour;
      neighbour.bits = static_cast<std::uint16_t>(chosen.bits + step);
      const auto value = static_cast<double>(static_cast<float>(neighbour));
      if (std::isfinite(value) && std::abs(static_cast<double>(x) - value) < error) ++wrong;
    }
  }
  CHECK(wrong == 0);
}

TEST_CASE("bf16: infinity stays, what is too large becomes it, NaN stays NaN") {
  CHECK(static_cast<float>(bf16(kInfinityF32)) == kInfinityF32);
  CHECK(static_cast<float>(bf16(-kInfinityF32)) == -kInfinityF32);
  CHECK(static_cast<float>(bf16(std::numeric_limits<float>::max())) == kInfinityF32);
  CHECK(static_cast<float>(bf16(0x1.fep127F)) == 0x1.fep127F);  // the largest bf16
  CHECK(std::isnan(static_cast<float>(bf16(kNanF32))));
  CHECK(std::isnan(static_cast<float>(bf16(-kNanF32))));
  float signalling = 0;  // its payload lies in the half that is cut off
  const std::uint32_t word = 0x7f800001U;
  std::memcpy(&signalling, &word, sizeof word);
  CHECK(std::isnan(static_cast<float>(bf16(signalling))));
}

TEST_CASE("dtype: sizes and names, and a refusal of i32 where floats are needed") {
  CHECK(dtype_bytes(DType::f64) == 8);
  CHECK(dtype_bytes(DType::f32) == 4);
  CHECK(dtype_bytes(DType::bf16) == 2);
  CHECK(dtype_bytes(DType::i32) == 4);
  CHECK(std::string(dtype_name(DType::bf16)) == std::string("bf16"));
  CHECK(error_text<DTypeError>([] { dispatch_float(DType::i32, "gelu", []<class T>() {}); }) ==
        std::string("gelu: the tensor must be f64, f32 or bf16, got i32"));
}

TEST_CASE("tensor: made, filled and read in row-major order") {
  const Tensor t = Tensor::from(Values{1, 2, 3, 4, 5, 6}, {2, 3}, DType::f32);
  CHECK(t.defined());
  CHECK(!Tensor().defined());
  CHECK(t.rows() == 2);
  CHECK(t.cols() == 3);
  CHECK(t.bytes() == 24);
  CHECK(t.row_stride() == 3);
  CHECK(t.is_contiguous());
  CHECK(t.device() == kCpu);
  CHECK(t.at(4) == 5);
  CHECK(t.data<float>()[5] == 6);
  CHECK(t.to_vector() == Values{1, 2, 3, 4, 5, 6});
  CHECK(Tensor::zeros({3}, DType::bf16).to_vector() == Values{0, 0, 0});
  CHECK(Tensor::full({2}, DType::i32, -1).to_vector() == Values{-1, -1});
  CHECK(Tensor::full({}, DType::f64, 2.5).item() == 2.5);
  CHECK(Tensor::full({1, 1}, DType::f64, 3).item() == 3);
  const std::vector<std::int32_t> ids{7, -2};
  CHECK(Tensor::from_i32(ids, {2, 1}).to_vector() == Values{7, -2});
  CHECK(reinterpret_cast<std::uintptr_t>(t.raw()) % 64 == 0);
}

TEST_CASE("tensor: handles share memory, clones do not") {
  const Tensor t = counted({2, 3});
  const Tensor same = t;
  const Tensor copy = t.clone();
  CHECK(same.shares_memory_with(t));
  CHECK(!copy.shares_memory_with(t));
  CHECK(t.use_count() == 2);
  same.set(0, 9);
  CHECK(t.at(0) == 9);
  CHECK(copy.at(0) == 0);
}

TEST_CASE("tensor: reshape shares memory and keeps the order") {
  const Tensor t = counted({2, 6});
  const Tensor r = t.reshape({3, 2, 2});
  CHECK(r.shares_memory_with(t));
  CHECK(r.to_vector() == t.to_vector());
  CHECK(r.row_stride() == 2);
  CHECK(t.reshape({12}).reshape({2, 6}).equal_bits(t));
  CHECK(Tensor::full({}, DType::f64, 1).reshape({1, 1, 1}).at(0) == 1);
}

TEST_CASE("tensor: a slice takes rows of the first axis") {
  const Tensor t = counted({4, 2, 3});
  const Tensor s = t.slice(1, 3);
  CHECK(s.shape() == Shape({2, 2, 3}));
  CHECK(s.at(0) == 6);
  CHECK(s.at(11) == 17);
  CHECK(s.is_contiguous());
  CHECK(t.slice(2, 2).numel() == 0);
  CHECK(counted({5}).slice(1, 4).to_vector() == Values{1, 2, 3});
}

TEST_CASE("tensor: a row view has a stride, and everything reads through it") {
  const Tensor t = counted({2, 2, 5});
  const Tensor v = t.column_view(1, 3);
  CHECK(v.shape() == Shape({2, 2, 2}));
  CHECK(!v.is_contiguous());
  CHECK(v.row_stride() == 5);
  CHECK(v.to_vector() == Values{1, 2, 6, 7, 11, 12, 16, 17});
  CHECK(v.reshape({4, 2}).to_vector() == v.to_vector());
  CHECK(v.slice(1, 2).to_vector() == Values{11, 12, 16, 17});
  CHECK(v.column_view(1, 2).to_vector() == Values{2, 7, 12, 17});
  CHECK(t.slice(1, 2).column_view(4, 5).to_vector() == Values{14, 19});
  const Tensor c = v.clone();
  CHECK(c.is_contiguous());
  CHECK(c.equal_bits(v));
  v.fill(-1);
  CHECK(t.to_vector() == Values{0, -1, -1, 3, 4, 5, -1, -1, 8, 9, 10, -1, -1, 13, 14, 15, -1, -1, 18, 19});
  CHECK(t.column_view(0, 5).is_contiguous());
  CHECK(counted({1, 5}).column_view(1, 3).is_contiguous());
  CHECK(counted({1, 6}).column_view(1, 5).reshape({2, 2}).to_vector() == Values{1, 2, 3, 4});
}

TEST_CASE("tensor: copy_from and to go through views and convert") {
  const Tensor source = Tensor::from(Values{1.5, -2, 0.25, 1e30, 3, -0.0}, {2, 3}, DType::f64);
  for (const DType a : {DType::f64, DType::f32, DType::bf16}) {
    for (const DType b : {DType::f64, DType::f32, DType::bf16}) {
      const Tensor packed = Tensor::zeros({2, 7}, b);
      const Tensor view = packed.column_view(2, 5);
      view.copy_from(source.to(a));
      CHECK(view.clone().equal_bits(source.to(a).to(b)));
      CHECK(packed.at(1) == 0);
      CHECK(packed.at(5) == 0);
    }
  }
  CHECK(source.to(DType::f32).dtype() == DType::f32);
  CHECK(source.to(DType::i32).at(1) == -2);
}

TEST_CASE("tensor: equal bits means bits: -0 is not 0, NaN is NaN, another dtype or shape is not equal") {
  const Tensor zero = Tensor::full({2}, DType::f32, 0.0);
  CHECK(!zero.equal_bits(Tensor::full({2}, DType::f32, -0.0)));
  const Tensor nan = Tensor::full({2}, DType::f64, std::numeric_limits<double>::quiet_NaN());
  CHECK(nan.equal_bits(nan.clone()));
  CHECK(!zero.equal_bits(Tensor::full({2}, DType::f64, 0.0)));
  CHECK(!zero.equal_bits(zero.reshape({1, 2})));
}

TEST_CASE("tensor: tracking survives reshape only, and views of an untracked tensor stay untracked") {
  Tensor t = counted({4, 4});
  CHECK(t.slice(0, 2).track().slot == Track::kNone);
  t.set_track({3, 5});
  CHECK(t.reshape({16}).track().slot == 5);
  CHECK(t.reshape({16}).track().tape == 3);
  for (const Tensor& severed : {t.slice(0, 2), t.column_view(0, 2), t.clone(), t.to(DType::f32)}) {
    CHECK(severed.track().slot == Track::kSevered);
    CHECK(severed.track().tape == 3);
  }
  CHECK(t.detach().track().slot == Track::kNone);
  CHECK(t.slice(0, 2).detach().track().slot == Track::kNone);
  CHECK(t.slice(0, 2).slice(0, 1).track().slot == Track::kSevered);
}

TEST_CASE("tensor: what does not fit is an error that says what does") {
  const Tensor t = counted({2, 6});
  const auto text = [](const auto& call) { return error_text<ShapeError>(call); };
  CHECK(text([&] { Tensor::from(Values{1, 2}, {3}, DType::f32); }) == std::string("tensor: [3] needs 3 values, got 2"));
  const std::vector<std::int32_t> ids{1};
  CHECK(text([&] { Tensor::from_i32(ids, {2}); }) == std::string("tensor: [2] needs 2 values, got 1"));
  CHECK(text([&] { t.reshape({5}); }) == std::string("reshape: [2,6] with 12 elements cannot become [5]"));
  CHECK(text([&] { t.column_view(0, 3).reshape({6}); }) ==
        std::string("reshape: [2,3] with 6 elements (a row view) cannot become [6]; keep the last axis, or clone() "
                    "first"));
  CHECK(text([&] { t.slice(1, 3); }) == std::string("slice: [1,3) is not within the first axis of [2,6]"));
  CHECK(text([&] { t.slice(1, 0); }) == std::string("slice: [1,0) is not within the first axis of [2,6]"));
  CHECK(text([&] { t.column_view(-1, 3); }) == std::string("columns: [-1,3) is not within the last axis of [2,6]"));
  CHECK(text([&] { t.column_view(2, 7); }) == std::string("columns: [2,7) is not within the last axis of [2,6]"));
  CHECK(text([&] { static_cast<void>(t.item()); }) ==
        std::string("item: a tensor with one element is required, got [2,6]"));
  CHECK(text([&] { t.copy_from(counted({6, 2})); }) == std::string("copy: shapes must be equal, got [2,6] and [6,2]"));
  CHECK(error_text<DTypeError>([&] { static_cast<void>(t.data<float>()); }) ==
        std::string("tensor: elements are f64, asked for as f32; convert with to()"));
}

TEST_CASE("tensor: sizes of zero do no harm") {
  for (const Shape& shape : {Shape{0}, Shape{3, 0}, Shape{0, 3}, Shape{2, 0, 4}}) {
    const Tensor t = Tensor::zeros(shape, DType::f32);
    CHECK(t.defined());
    CHECK(t.numel() == 0);
    CHECK(t.to_vector().empty());
    CHECK(t.clone().shape() == shape);
    CHECK(t.to(DType::bf16).equal_bits(t.to(DType::bf16)));
    CHECK(t.reshape({0}).numel() == 0);
  }
}

}  // namespace mixgrad::test
