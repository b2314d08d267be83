#include "ops/selective_scan/selective_scan.h"

#include <cmath>

#include "autograd/tape.h"
#include "ops/cases/cases.h"
#include "ops/selective_scan/selective_scan_blocks.h"

namespace mixgrad::test {
namespace {

using enum InputRole;

// s_t = exp(step A) s_{t-1} + step x B, y_t = sum_n C s_t + D x
Tensor scanned(const Tensor& x, const Tensor& dt, const Tensor& a_log, const Tensor& b, const Tensor& c,
               const Tensor& d) {
  const std::int64_t time = x.dim(1);
  const std::int64_t heads = x.dim(2);
  const std::int64_t channels = x.dim(3);
  const std::int64_t states = a_log.dim(2);
  Tensor y = Tensor::empty(x.shape(), DType::f64);
  for (std::int64_t sequence = 0; sequence < x.dim(0); ++sequence) {
    for (std::int64_t hc = 0; hc < heads * channels; ++hc) {
      std::vector<double> s(static_cast<std::size_t>(states), 0.0);
      for (std::int64_t t = 0; t < time; ++t) {
        const std::int64_t i = (sequence * time + t) * heads * channels + hc;
        const std::int64_t row = (sequence * time + t) * heads + hc / channels;
        const double step = dt.at(i) > 20 ? dt.at(i) : std::log1p(std::exp(dt.at(i)));
        double sum = d.at(hc) * x.at(i);
        for (std::int64_t n = 0; n < states; ++n) {
          double& state = s[static_cast<std::size_t>(n)];
          const double rate = -std::exp(a_log.at(hc * states + n));
          state = std::exp(step * rate) * state + step * x.at(i) * b.at(row * states + n);
          sum += c.at(row * states + n) * state;
        }
        y.set(i, sum);
      }
    }
  }
  return y;
}

Tensor scanned(std::span<const Tensor> in) { return scanned(in[0], in[1], in[2], in[3], in[4], in[5]); }

OpCase plain(const std::string& note, const Shape& x, std::int64_t states,
             ScanImplementation implementation = ScanImplementation::chunked) {
  return {
      note,
      {random_tensor(x, 1), random_tensor(x, 2), random_tensor({x[2], x[3], states}, 3),
       random_tensor(x.with_last(states), 4), random_tensor(x.with_last(states), 5), random_tensor({x[2], x[3]}, 6)},
      [=](std::span<const Tensor> in) {
        return std::vector{selective_scan(in[0], in[1], in[2], in[3], in[4], in[5], implementation)};
      },
      [](std::span<const Tensor> in) { return std::vector{scanned(in)}; }};
}

// Steps far from one: dt around `low` and, for every third element, around `high`.
OpCase with_steps(const std::string& note, double low, double high) {
  OpCase c = plain(note, {2, 19, 1, 3}, 4);
  for (std::int64_t i = 0; i < c.inputs[1].numel(); ++i) {
    c.inputs[1].set(i, c.inputs[1].at(i) + (i % 3 == 0 ? high : low));
  }
  return c;
}

// Steps around softplus(-4) = 0.018 and decays around exp(-0.018 exp(-2)): a state remembers some 400 tokens. x has the
// mean 1, so that what is remembered is large beside what one token adds.
CachedCase in_pieces(const std::string& note, ScanImplementation implementation) {
  return {.note = note,
          .inputs =
              [](std::int64_t tokens) {
                std::vector<Tensor> in{random_tensor({2, tokens, 2, 3}, 7),  random_tensor({2, tokens, 2, 3}, 8),
                                       random_tensor({2, 3, 4}, 9),          random_tensor({2, tokens, 2, 4}, 10),
                                       random_tensor({2, tokens, 2, 4}, 11), random_tensor({2, 3}, 12)};
                const double means[] = {1, -4, -2, 1, 1, 0};
                for (std::size_t i = 0; i < in.size(); ++i) {
                  for (std::int64_t e = 0; e < in[i].numel(); ++e) in[i].set(e, means[i] + 0.3 * in[i].at(e));
                }
                return in;
              },
          .sequences = {0, 1, 3, 4},
          .whole =
              [=](std::span<const Tensor> in) {
                return std::vector{selective_scan(in[0], in[1], in[2], in[3], in[4], in[5], implementation)};
              },
          .start = [=](std::span<const Tensor> in, std::int64_t) -> PieceFunction {
            const Tensor state = Tensor::zeros({2, 2, 4, 3}, accumulation_dtype(in[0].dtype()), in[0].device());
            return [=](std::span<const Tensor> p, std::int64_t) {
              return selective_scan_cached(p[0], p[1], p[2], p[3], p[4], p[5], state, implementation);
            };
          }};
}

}  // namespace

OpCases selective_scan_cases() {
  OpCases all;
  all.cases = {
      plain("one element, one state", {1, 1, 1, 1}, 1),
      plain("T=1", {2, 1, 2, 3}, 4),
      plain("T=15, one below a chunk", {1, 15, 1, 2}, 3),
      plain("T=16, a chunk", {2, 16, 1, 2}, 2),
      plain("T=17, one more", {1, 17, 2, 3}, 2),
      plain("T=50, four chunks", {1, 50, 1, 2}, 5),
      plain("16 states", {2, 5, 2, 4}, 16),
      plain("8 states, two chunks", {1, 18, 2, 3}, 8),
      plain("4 states, 33 channels", {1, 3, 1, 33}, 4),
      plain("16 states, 33 channels, two chunks", {1, 17, 1, 33}, 16),
      plain("15 channels: lanes with padding", {1, 4, 1, 15}, 2),
      plain("17 channels", {1, 4, 2, 17}, 2),
      plain("65 channels: two blocks", {2, 3, 1, 65}, 2),
      plain("260 channels: two groups", {2, 2, 1, 260}, 1),
      plain("three sequences", {3, 2, 2, 3}, 2),
      plain("sequential: one element", {1, 1, 1, 1}, 1, ScanImplementation::sequential),
      plain("sequential: T=17, heads", {2, 17, 2, 3}, 3, ScanImplementation::sequential),
      with_steps("very small steps: long memory", -4, -6),
      with_steps("large steps: nothing is remembered", 4, 12),
      with_steps("steps beyond 20, where softplus is linear", 1, 30),
      {"x with z, and dt with b and c",
       {random_tensor({2, 18, 2, 7}, 1), random_tensor({2, 18, 2, 9}, 2), random_tensor({2, 3, 3}, 3),
        random_tensor({2, 3}, 4)},
       [](std::span<const Tensor> in) {
         return std::vector{selective_scan(columns(in[0], 0, 3), columns(in[1], 0, 3), in[2], columns(in[1], 3, 6),
                                           columns(in[1], 6, 9), in[3])};
       },
       [](std::span<const Tensor> in) {
         const auto part = [&](std::size_t i, std::int64_t begin) {
           return in[i].column_view(begin, begin + 3).clone();
         };
         return std::vector{scanned(part(0, 0), part(1, 0), in[2], part(1, 3), part(1, 6), in[3])};
       },
       {activation, activation, parameter, parameter}},
      {"b and c are one tensor",
       {random_tensor({1, 18, 1, 4}, 1), random_tensor({1, 18, 1, 4}, 2), random_tensor({1, 4, 3}, 3),
        random_tensor({1, 18, 1, 3}, 4), random_tensor({1, 4}, 5)},
       [](std::span<const Tensor> in) { return std::vector{selective_scan(in[0], in[1], in[2], in[3], in[3], in[4])}; },
       [](std::span<const Tensor> in) { return std::vector{scanned(in[0], in[1], in[2], in[3], in[3], in[4])}; },
       {activation, activation, parameter, activation, parameter}},
  };

  const Tensor x = random_tensor({2, 3, 2, 5}, 1);
  const Tensor a_log = random_tensor({2, 5, 4}, 2);
  const Tensor b = random_tensor({2, 3, 2, 4}, 3);
  const Tensor d = random_tensor({2, 5}, 4);
  all.errors = {
      {"x without heads",
       [=] {
         selective_scan(random_tensor({2, 3, 10}, 1), x, a_log, b, b, d);
       },
       "selective_scan: x must be [B,T,R,C] (4 axes), got [2,3,10]"},
      {"x without elements",
       [=] {
         const Tensor none = Tensor::zeros({2, 0, 2, 5}, DType::f64);
         const Tensor no_b = Tensor::zeros({2, 0, 2, 4}, DType::f64);
         selective_scan(none, none, a_log, no_b, no_b, d);
       },
       "selective_scan: x must have at least one element, got [2,0,2,5]"},
      {"dt of another shape",
       [=] {
         selective_scan(x, random_tensor({2, 3, 2, 4}, 1), a_log, b, b, d);
       },
       "selective_scan: dt must be [2,3,2,5], got [2,3,2,4]"},
      {"a_log of two axes",
       [=] {
         selective_scan(x, x, random_tensor({10, 4}, 1), b, b, d);
       },
       "selective_scan: a_log must be [R,C,N] (3 axes), got [10,4]"},
      {"a_log of other channels",
       [=] {
         selective_scan(x, x, random_tensor({2, 4, 4}, 1), b, b, d);
       },
       "selective_scan: a_log must be [2,5,4], got [2,4,4]"},
      {"no states",
       [=] {
         selective_scan(x, x, Tensor::zeros({2, 5, 0}, DType::f64), b, b, d);
       },
       "selective_scan: a_log must have at least one state (its last axis), got [2,5,0]"},
      {"b of other states",
       [=] {
         selective_scan(x, x, a_log, random_tensor({2, 3, 2, 5}, 1), b, d);
       },
       "selective_scan: b must be [2,3,2,4], got [2,3,2,5]"},
      {"c of other states",
       [=] {
         selective_scan(x, x, a_log, b, random_tensor({2, 3, 1, 4}, 1), d);
       },
       "selective_scan: c must be [2,3,2,4], got [2,3,1,4]"},
      {"d per head", [=] { selective_scan(x, x, a_log, b, b, random_tensor({2}, 1)); },
       "selective_scan: d must be [2,5], got [2]"},
      {"b of another dtype", [=] { selective_scan(x, x, a_log, b.to(DType::f32), b, d); },
       "selective_scan: b must be f64 like the first input, got f32"},
      {"no c", [=] { selective_scan(x, x, a_log, b, Tensor(), d); },
       "selective_scan: c is required, got an undefined tensor"},
      {"i32",
       [=] {
         selective_scan(random_tokens({2, 3, 2, 5}, 5, 1), x, a_log, b, b, d);
       },
       "selective_scan: x must be f64, f32 or bf16, got i32"},
  };
  all.cached = {in_pieces("chunked", ScanImplementation::chunked),
                in_pieces("sequential", ScanImplementation::sequential)};
  all.block_sizes = kSelectiveScanBlocks;
  all.with_size = [](std::string_view axis, std::int64_t size) {
    if (axis == "tokens") return plain("", {1, size, 1, 1}, 4);  // CUDA's registers take 4, 8 or 16 states
    if (axis == "channels") return plain("", {1, 2, 1, size}, size <= kScanCudaFewChannels + 1 ? 16 : 4);
    raise_unknown_axis(axis);
  };
  return all;
}

OpBench selective_scan_bench() {
  return {.sizes = {{"B", 8, "sequences"},
                    {"T", 1024, "tokens"},
                    {"R", 1, "heads"},
                    {"C", 1536, "channels of a head"},
                    {"N", 16, "states of a channel"},
                    {"K", 48, "columns beside b and c in their tensor: the rank of dt", 0}},
          .counted = "6 operations a channel, state and token forward, 19 backward; b and c are columns of one tensor",
          .make = [](const BenchSizes& s) -> BenchCall {
            const Shape x{s["B"], s["T"], s["R"], s["C"]};
            const BenchInput b = BenchInput::normal(x.with_last(s["N"])).in_rows_of(s["K"] + 2 * s["N"]);
            const auto cells = static_cast<double>(x.numel() * s["N"]);
            // As a new model has them: steps around softplus(-4), decays around exp(-0.018 e^2).
            return {.inputs = {BenchInput::normal(x), BenchInput::normal(x, 0.5, -4),
                               BenchInput::normal({s["R"], s["C"], s["N"]}, 0.7, 2), b, b,
                               BenchInput::normal({s["R"], s["C"]}, 0.1, 1)},
                    .run =
                        [](std::span<const Tensor> in) {
                          return std::vector{selective_scan(in[0], in[1], in[2], in[3], in[4], in[5])};
                        },
                    .forward_operations = 6 * cells,
                    .backward_operations = 19 * cells,
                    .read_again = {0, 1, 2, 3, 4, 5}};
          }};
}

}  // namespace mixgrad::test
