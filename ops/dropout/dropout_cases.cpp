#include "ops/dropout/dropout.h"

#include "autograd/tape.h"
#include "core/numeric/philox.h"
#include "ops/cases/cases.h"

namespace mixgrad::test {
namespace {

// The definition: word i % 4 of Philox for the counter floor(i / 4) + place 2^48 and the stream step parts + part + 1.
bool kept(const DropoutMask& mask, double rate, std::int64_t i) {
  const auto element = static_cast<std::uint64_t>(i);
  const RandomBits bits =
      random_bits(mask.seed, element / 4 + std::uint64_t{mask.place} * (std::uint64_t{1} << 48U), mask.draw + 1);
  return static_cast<double>(bits.words[element % 4]) >= rate * 0x1p32;
}

Tensor dropped(const Tensor& x, const DropoutMask& mask, double rate) {
  Tensor y = Tensor::empty(x.shape(), DType::f64);
  for (std::int64_t i = 0; i < x.numel(); ++i) y.set(i, kept(mask, rate, i) ? x.at(i) / (1 - rate) : 0);
  return y;
}

DropoutMask mask_of(double rate, std::int64_t step = 3, std::uint32_t place = 5) {
  return DropoutMask::of(rate, 77).in_step(step, 2, 1).at(place);
}

OpCase plain(const std::string& note, const Shape& shape, double rate, const DropoutMask& mask) {
  return {note,
          {random_tensor(shape, 1)},
          [=](std::span<const Tensor> in) { return std::vector{dropout(in[0], mask)}; },
          [=](std::span<const Tensor> in) { return std::vector{dropped(in[0], mask, rate)}; }};
}

}  // namespace

OpCases dropout_cases() {
  OpCases all;
  all.cases = {
      plain("one element, kept", {1}, 0.25, mask_of(0.25)),
      plain("odd sizes", {3, 5, 7}, 0.25, mask_of(0.25)),
      plain("half", {2, 9}, 0.5, mask_of(0.5)),
      plain("nearly all left out", {4, 33}, 0.9375, mask_of(0.9375)),
      plain("another step and place", {2, 130}, 0.5, mask_of(0.5, 1'000'000'007, 60'000)),
      plain("more than a group of 256 elements in a row", {3, 517}, 0.125, mask_of(0.125)),
      plain("rows of one", {70, 1}, 0.25, mask_of(0.25)),
      plain("1100 rows, beyond a task", {1100, 3}, 0.25, mask_of(0.25)),
      {"a row view: elements are counted as if it were dense",
       {random_tensor({5, 12}, 2)},
       [](std::span<const Tensor> in) { return std::vector{dropout(columns(in[0], 2, 9), mask_of(0.25))}; },
       [](std::span<const Tensor> in) { return std::vector{dropped(in[0].column_view(2, 9), mask_of(0.25), 0.25)}; },
       {InputRole::activation}},
  };
  all.errors = {
      {"i32", [] { dropout(random_tokens({3}, 5, 1), mask_of(0.5)); }, "dropout: x must be f64, f32 or bf16, got i32"},
      {"a place beyond the last", [] { dropout(random_tensor({3}, 1), mask_of(0.5, 3, 65536)); },
       "dropout: the place must be below 65536, got 65536"},
  };
  return all;
}

OpBench dropout_bench() {
  return {.sizes = {{"B", 8, "sequences"}, {"T", 1024, "tokens"}, {"D", 768, "channels"}},
          .counted = "1 operation an element forward, 1 backward, without those of the mask; a rate of 0.1",
          .make = [](const BenchSizes& s) -> BenchCall {
            const Shape x{s["B"], s["T"], s["D"]};
            return {.inputs = {BenchInput::normal(x)},
                    .run = [](std::span<const Tensor> in) { return std::vector{dropout(in[0], mask_of(0.1))}; },
                    .forward_operations = static_cast<double>(x.numel()),
                    .backward_operations = static_cast<double>(x.numel())};
          }};
}

}  // namespace mixgrad::test
