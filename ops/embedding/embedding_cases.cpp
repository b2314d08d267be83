#include "ops/embedding/embedding.h"

#include "ops/cases/cases.h"
#include "ops/embedding/embedding_blocks.h"

namespace mixgrad::test {
namespace {

// y[b,t,:] = weight[tokens[b,t],:] + positions[first_position + t,:]
Tensor looked_up(const Tensor& tokens, const Tensor& weight, const Tensor& positions, std::int64_t first_position) {
  const std::int64_t batch = tokens.dim(0);
  const std::int64_t time = tokens.dim(1);
  const std::int64_t width = weight.dim(1);
  Tensor y = Tensor::empty({batch, time, width}, DType::f64);
  for (std::int64_t b = 0; b < batch; ++b) {
    for (std::int64_t t = 0; t < time; ++t) {
      const auto token = static_cast<std::int64_t>(tokens.at(b * time + t));
      for (std::int64_t c = 0; c < width; ++c) {
        double value = weight.at(token * width + c);
        if (positions.defined()) value += positions.at((first_position + t) * width + c);
        y.set((b * time + t) * width + c, value);
      }
    }
  }
  return y;
}

OpCase of_tokens(const std::string& note, const Tensor& tokens, std::int64_t vocabulary, std::int64_t width,
                 std::int64_t positions = 0, std::int64_t first_position = 0) {
  return {
      note,
      {tokens, random_tensor({vocabulary, width}, 2), positions > 0 ? random_tensor({positions, width}, 3) : Tensor()},
      [=](std::span<const Tensor> in) { return std::vector{embedding(in[0], in[1], in[2], first_position)}; },
      [=](std::span<const Tensor> in) { return std::vector{looked_up(in[0], in[1], in[2], first_position)}; },
      {},
      {0}};
}

OpCase random_case(const std::string& note, std::int64_t batch, std::int64_t time, std::int32_t vocabulary,
                   std::int64_t width, std::int64_t positions = 0, std::int64_t first_position = 0) {
  return of_tokens(note, random_tokens({batch, time}, vocabulary, 1), vocabulary, width, positions, first_position);
}

// No state: a piece says at which position it begins.
CachedCase in_pieces(const std::string& note, bool with_positions) {
  return {.note = note,
          .inputs =
              [=](std::int64_t tokens) {
                return std::vector{random_tokens({2, tokens}, 7, 7), random_tensor({7, 5}, 8),
                                   with_positions ? random_tensor({tokens, 5}, 9) : Tensor()};
              },
          .sequences = {0},
          .whole = [](std::span<const Tensor> in) { return std::vector{embedding(in[0], in[1], in[2])}; },
          .start = [](std::span<const Tensor>, std::int64_t) -> PieceFunction {
            return [](std::span<const Tensor> piece, std::int64_t position) {
              return embedding(piece[0], piece[1], piece[2], position);
            };
          }};
}

}  // namespace

OpCases embedding_cases() {
  OpCases all;
  all.cases = {
      random_case("one element", 1, 1, 1, 1),
      random_case("T=1, with positions", 3, 1, 5, 7, 4),
      of_tokens("the same token everywhere", Tensor::full({2, 9}, DType::i32, 3), 5, 17, 9),
      random_case("repeated tokens, no positions", 2, 33, 7, 5),
      random_case("most rows of the table unused", 2, 3, 65, 7, 3),
      random_case("first_position 4, rows of positions left over", 2, 7, 11, 5, 16, 4),
      random_case("first_position reaches the last row", 1, 5, 3, 9, 12, 7),
      random_case("130 tokens, D=33", 2, 65, 17, 33, 65),
      random_case("D=96", 1, 7, 9, 96, 8, 1),
      random_case("D=300, beyond a slice of channels", 2, 3, 4, 300, 3),
      random_case("1300 tokens", 2, 650, 3, 2, 650),
      of_tokens("one token in several pieces, large table", Tensor::full({1, 200}, DType::i32, 7), 2100, 2, 0),
      of_tokens("few tokens in several pieces, large table", random_tokens({3, 150}, 4, 3), 2100, 3, 0),
  };

  const Tensor tokens = random_tokens({2, 3}, 5, 1);
  const Tensor weight = random_tensor({5, 4}, 1);
  const auto with_token = [=](int token) {
    const Tensor changed = tokens.clone();
    changed.set(4, token);
    return changed;
  };
  all.errors = {
      {"token at V", [=] { embedding(with_token(5), weight); }, "embedding: tokens must be in [0,5), got 5 at index 4"},
      {"token below 0", [=] { embedding(with_token(-1), weight); },
       "embedding: tokens must be in [0,5), got -1 at index 4"},
      {"more tokens than positions",
       [=] {
         embedding(tokens, weight, random_tensor({2, 4}, 1));
       },
       "embedding: positions 0 to 2 are asked for, there are 2; use a shorter sequence or a larger context"},
      {"first_position beyond the positions",
       [=] {
         embedding(tokens, weight, random_tensor({4, 4}, 1), 2);
       },
       "embedding: positions 2 to 4 are asked for, there are 4; use a shorter sequence or a larger context"},
      {"first_position below 0",
       [=] {
         embedding(tokens, weight, random_tensor({4, 4}, 1), -1);
       },
       "embedding: positions -1 to 1 are asked for, there are 4; use a shorter sequence or a larger context"},
      {"positions of another width",
       [=] {
         embedding(tokens, weight, random_tensor({4, 5}, 1));
       },
       "embedding: positions must be [C,4] to match weight [5,4], got [4,5]"},
      {"positions of another dtype",
       [=] {
         embedding(tokens, weight, random_tensor({4, 4}, 1).to(DType::f32));
       },
       "embedding: positions must be f64 like the first input, got f32"},
      {"float tokens", [=] { embedding(weight, weight); }, "embedding: tokens must be i32, got f64"},
      {"tokens without a batch axis", [=] { embedding(random_tokens({3}, 5, 1), weight); },
       "embedding: tokens must be [B,T] (2 axes), got [3]"},
      {"the table is no matrix", [=] { embedding(tokens, random_tensor({4}, 1)); },
       "embedding: weight must be [V,D] (2 axes), got [4]"},
      {"the table is i32", [=] { embedding(tokens, tokens); }, "embedding: weight must be f64, f32 or bf16, got i32"},
  };
  all.cached = {in_pieces("with positions", true), in_pieces("without positions", false)};
  all.block_sizes = kEmbeddingBlocks;
  all.with_size = [](std::string_view axis, std::int64_t size) {
    if (axis == "channels") return random_case("", 2, 3, 4, size, 3);
    if (axis == "tokens") return random_case("", 1, size, 3, 2);
    if (axis == "table rows") return random_case("", 1, 5, static_cast<std::int32_t>(size), 1);
    raise_unknown_axis(axis);
  };
  return all;
}

OpBench embedding_bench() {
  return {
      .sizes = {{"B", 8, "sequences"}, {"T", 1024, "tokens"}, {"D", 768, "channels"}, {"V", 50304, "rows of weight"}},
      .counted = "1 operation an element of y forward, 2 backward",
      .make = [](const BenchSizes& s) -> BenchCall {
        const std::int64_t elements = s["B"] * s["T"] * s["D"];
        BenchInput weight = BenchInput::normal({s["V"], s["D"]}, 0.02);
        weight.read = elements;  // a row for each token; its gradient has a row for each of the vocabulary
        const auto operations = static_cast<double>(elements);
        return {.inputs = {BenchInput::tokens({s["B"], s["T"]}, s["V"]), weight,
                           BenchInput::normal({s["T"], s["D"]}, 0.02)},
                .run = [](std::span<const Tensor> in) { return std::vector{embedding(in[0], in[1], in[2])}; },
                .forward_operations = operations,
                .backward_operations = 2 * operations,
                .read_again = {0}};
      }};
}

}  // namespace mixgrad::test
