#include "ops/heads/heads.h"

#include "autograd/tape.h"
#include "core/error.h"
#include "ops/cases/cases.h"

namespace mixgrad::test {
namespace {

using enum InputRole;

using Slots = std::vector<std::int64_t>;

OpCase split(const std::string& note, const Shape& x, std::int64_t heads) {
  return {note,
          {random_tensor(x, 1)},
          [=](std::span<const Tensor> in) { return std::vector{split_heads(in[0], heads)}; },
          [=](std::span<const Tensor> in) {
            return std::vector{in[0].clone().reshape({x[0], x[1], heads, x[2] / heads})};
          }};
}

// y[row, slots[i] C + c] = head i at c
Tensor joined(std::span<const Tensor> parts, const Slots& slots, std::int64_t width) {
  const Shape& first = parts[0].shape();
  const auto heads = static_cast<std::int64_t>(slots.size());
  Tensor y = Tensor::empty({first[0], first[1], heads * width}, DType::f64);
  std::int64_t next = 0;
  for (const Tensor& part : parts) {
    const std::int64_t count = part.numel() / (first[0] * first[1] * width);
    for (std::int64_t row = 0; row < first[0] * first[1]; ++row) {
      for (std::int64_t i = 0; i < count * width; ++i) {
        const std::int64_t slot = slots[static_cast<std::size_t>(next + i / width)];
        y.set((row * heads + slot) * width + i % width, part.at(row * count * width + i));
      }
    }
    next += count;
  }
  return y;
}

OpCase concat(const std::string& note, const std::vector<Shape>& parts, const Slots& slots, std::int64_t width) {
  std::vector<Tensor> inputs;
  for (const Shape& shape : parts) inputs.push_back(random_tensor(shape, inputs.size() + 1));
  std::vector<InputRole> roles;  // with four parts they are the operator's inputs
  if (parts.size() < 4) roles.assign(parts.size(), activation);
  return {note, inputs, [=](std::span<const Tensor> in) { return std::vector{concat_heads(in, slots, width)}; },
          [=](std::span<const Tensor> in) { return std::vector{joined(in, slots, width)}; }, roles};
}

}  // namespace

OpCases split_heads_cases() {
  OpCases all;
  all.cases = {
      split("one element", {1, 1, 1}, 1),
      split("one head", {2, 3, 5}, 1),
      split("three heads of five", {2, 4, 15}, 3),
      split("a head is a channel", {1, 3, 4}, 4),
      {"a column of every head",
       {random_tensor({2, 3, 12}, 1)},
       [](std::span<const Tensor> in) {
         return std::vector{concat_heads(std::vector{columns(split_heads(in[0], 3), 1, 3)}, Slots{0, 1, 2}, 2)};
       },
       [](std::span<const Tensor> in) {
         const Tensor part = in[0].reshape({2, 3, 3, 4}).column_view(1, 3).clone();
         return std::vector{part.reshape({2, 3, 6})};
       },
       {activation}},
  };
  const Tensor x = random_tensor({2, 3, 10}, 1);
  all.errors = {
      {"D is no multiple of H", [=] { split_heads(x, 3); },
       "split_heads: the last axis of x must be a multiple of the 3 heads, got x [2,3,10]"},
      {"no heads", [=] { split_heads(x, 0); },
       "split_heads: the last axis of x must be a multiple of the 0 heads, got x [2,3,10]"},
      {"a row view", [=] { split_heads(x.column_view(0, 4), 2); },
       "split_heads: x must be contiguous, got a row view [2,3,4]; clone() it first"},
      {"two axes",
       [=] {
         split_heads(random_tensor({3, 10}, 1), 2);
       },
       "split_heads: x must be [B,T,D] (3 axes), got [3,10]"},
      {"i32",
       [=] {
         split_heads(random_tokens({2, 3, 10}, 5, 1), 2);
       },
       "split_heads: x must be f64, f32 or bf16, got i32"},
  };
  return all;
}

OpCases concat_heads_cases() {
  OpCases all;
  all.cases = {
      concat("one element", {{1, 1, 1}}, {0}, 1),
      concat("one part, in another order", {{2, 3, 6}}, {2, 0, 1}, 2),
      concat("two parts, interleaved", {{2, 5, 6}, {2, 5, 6}}, {1, 3, 0, 2}, 3),
      concat("three parts of unlike size", {{1, 4, 2}, {1, 4, 6}, {1, 4, 4}}, {3, 0, 5, 1, 4, 2}, 2),
      concat("four parts", {{2, 3, 2}, {2, 3, 4}, {2, 3, 2, 2}, {2, 3, 2}}, {5, 1, 3, 0, 4, 2}, 2),
      concat("a part with a row for each head", {{2, 3, 5}, {2, 3, 2, 5}}, {1, 2, 0}, 5),
      concat("2100 tokens, many blocks", {{1, 2100, 8}, {1, 2100, 8}}, {1, 0}, 8),
      concat("the same, heads of 3 channels", {{1, 2100, 3}, {1, 2100, 3}}, {1, 0}, 3),
      concat("a part with a row for each head, in whole chunks", {{2, 3, 16}, {2, 3, 3, 8}}, {1, 4, 2, 0, 3}, 8),
      {"parts are columns",
       {random_tensor({2, 3, 7}, 1)},
       [](std::span<const Tensor> in) {
         const std::vector<Tensor> parts{columns(in[0], 1, 3), columns(in[0], 3, 7)};
         return std::vector{concat_heads(parts, Slots{1, 2, 0}, 2)};
       },
       [](std::span<const Tensor> in) {
         const std::vector<Tensor> parts{in[0].column_view(1, 3).clone(), in[0].column_view(3, 7).clone()};
         return std::vector{joined(parts, {1, 2, 0}, 2)};
       },
       {activation}},
      {"a head twice",
       {random_tensor({2, 3, 4}, 1)},
       [](std::span<const Tensor> in) {
         return std::vector{concat_heads(std::vector{in[0], in[0]}, Slots{1, 0}, 4)};
       },
       [](std::span<const Tensor> in) {
         return std::vector{joined(std::vector{in[0], in[0]}, {1, 0}, 4)};
       },
       {activation}},
  };
  const Tensor x = random_tensor({2, 3, 6}, 1);
  const auto call = [](const std::vector<Tensor>& parts, const Slots& slots, std::int64_t width) {
    concat_heads(parts, slots, width);
  };
  all.errors = {
      {"no parts", [=] { call({}, {}, 2); }, "concat_heads: from 1 to 4 parts are required, got 0"},
      {"five parts",
       [=] {
         call({x, x, x, x, x}, {0, 1, 2, 3, 4}, 6);
       },
       "concat_heads: from 1 to 4 parts are required, got 5"},
      {"heads without width", [=] { call({x}, {0}, 0); },
       "concat_heads: the width of a head must be at least 1, got 0"},
      {"a slot beyond the heads",
       [=] {
         call({x}, {0, 1, 3}, 2);
       },
       "concat_heads: the slots must be 0 to 2, each once, got 3"},
      {"a slot below 0",
       [=] {
         call({x}, {0, -1, 2}, 2);
       },
       "concat_heads: the slots must be 0 to 2, each once, got -1"},
      {"a slot twice",
       [=] {
         call({x}, {0, 1, 1}, 2);
       },
       "concat_heads: the slots must be 0 to 2, each once, got 1 twice"},
      {"fewer slots than heads",
       [=] {
         call({x}, {0, 1}, 2);
       },
       "concat_heads: the parts hold more heads than the 2 slots"},
      {"more slots than heads",
       [=] {
         call({x}, {0, 1, 2, 3}, 2);
       },
       "concat_heads: one slot for each head is required, got 4 slots and 3 heads"},
      {"another T",
       [=] {
         call({x, random_tensor({2, 4, 6}, 1)}, {0, 1}, 6);
       },
       "concat_heads: a part must be [B,T,n 6] or [B,T,n,6] with the B and T of the first, [2,3,6], got [2,4,6]"},
      {"a width that is no multiple", [=] { call({x}, {0}, 4); },
       "concat_heads: a part must be [B,T,n 4] or [B,T,n,4] with the B and T of the first, [2,3,6], got [2,3,6]"},
      {"two axes",
       [=] {
         call({random_tensor({3, 6}, 1)}, {0}, 6);
       },
       "concat_heads: a part must be [B,T,n 6] or [B,T,n,6] with the B and T of the first, [3,6], got [3,6]"},
      {"parts of two dtypes",
       [=] {
         call({x, x.to(DType::f32)}, {0, 1}, 6);
       },
       "concat_heads: a part must be f64 like the first input, got f32"},
      {"i32",
       [=] {
         call({random_tokens({2, 3, 6}, 5, 1)}, {0}, 6);
       },
       "concat_heads: a part must be f64, f32 or bf16, got i32"},
  };
  return all;
}

OpBench split_heads_bench() {
  return {.sizes = {{"B", 8, "sequences"}, {"T", 1024, "tokens"}, {"H", 12, "heads"}, {"D", 64, "channels of a head"}},
          .counted = "no operations and no bytes: the output is the memory of the input, both ways",
          .make = [](const BenchSizes& s) -> BenchCall {
            const std::int64_t heads = s["H"];
            return {.inputs = {BenchInput::normal({s["B"], s["T"], heads * s["D"]})},
                    .run = [=](std::span<const Tensor> in) { return std::vector{split_heads(in[0], heads)}; },
                    .forward_is_view = true,
                    .backward_is_view = true};
          }};
}

OpBench concat_heads_bench() {
  return {.sizes = {{"B", 8, "sequences"},
                    {"T", 1024, "tokens"},
                    {"P", 2, "parts, at most 4"},
                    {"H", 6, "heads of each part"},
                    {"D", 64, "channels of a head"}},
          .counted = "no operations: a copy each way; the heads of the parts alternate",
          .make = [](const BenchSizes& s) -> BenchCall {
            const std::int64_t parts = s["P"];
            const std::int64_t heads = s["H"];
            const std::int64_t head = s["D"];
            if (parts > 4) raise<ValueError>("bench of concat_heads: P must be at most 4; got ", parts, "; correct it");
            Slots slots;
            for (std::int64_t i = 0; i < parts * heads; ++i) slots.push_back(i % heads * parts + i / heads);
            BenchCall call{.inputs = {}, .run = [=](std::span<const Tensor> in) {
                             return std::vector{concat_heads(in.first(static_cast<std::size_t>(parts)), slots, head)};
                           }};
            call.inputs.resize(4);
            for (std::int64_t i = 0; i < parts; ++i) {
              call.inputs[static_cast<std::size_t>(i)] = BenchInput::normal({s["B"], s["T"], heads * head});
            }
            return call;
          }};
}

}  // namespace mixgrad::test
