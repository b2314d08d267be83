// An operator that stands outside the library: recorded, checked by every law and registered, all by public functions.
// With a mistake planted in it, the laws find the mistake.
#include <doctest/doctest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "autograd/tape.h"
#include "core/error.h"
#include "ops/cases/operator_laws.h"
#include "ops/cases/operator_timing.h"
#include "ops/operators.h"
#include "ops/support/check.h"
#include "tests/support/close.h"

namespace mixgrad::test {
namespace {

enum class Mistake {
  none,
  gradient_off,  // the gradient of x is 0.1 % too large
  gate_wrong,    // the gradient of the gate leaves out the last token
  bf16_state,    // the average is kept in bf16 beside bf16 tokens, where f32 is promised
  stale_state,   // the cached form keeps the average before the last token
};

struct MeanAttributes {
  Mistake mistake;
};

// running_mean: y_t = g y_{t-1} + (1 - g) x_t, y_{-1} = 0      x: [B,T,C]   g: [C], f32 beside bf16   y: like x
//   `state` [B,C] is the average before the first token, and that after the last one afterwards.
template <class T>
void average(const Tensor& x, const Tensor& g, const Tensor& state, const Tensor& y, Mistake mistake) {
  using A = acc_t<T>;
  const std::int64_t time = x.dim(1);
  const std::int64_t channels = x.dim(2);
  for (std::int64_t b = 0; b < x.dim(0); ++b) {
    for (std::int64_t c = 0; c < channels; ++c) {
      const A gate = g.data<A>()[c];
      A& kept = state.data<A>()[b * channels + c];
      A mean = kept;
      for (std::int64_t t = 0; t < time; ++t) {
        if (mistake == Mistake::stale_state) kept = mean;
        const std::int64_t i = (b * time + t) * channels + c;
        mean = gate * mean + (A(1) - gate) * A(x.data<T>()[i]);
        if (mistake == Mistake::bf16_state) mean = A(static_cast<T>(mean));
        y.data<T>()[i] = static_cast<T>(mean);
      }
      if (mistake != Mistake::stale_state) kept = mean;
    }
  }
}

// L_t = dy_t + g L_{t+1},  dx_t = (1 - g) L_t,  dg = sum_t L_t (y_{t-1} - x_t)
template <class T>
void gradients(const Tensor& x, const Tensor& g, const Tensor& y, const Tensor& dy, const GradTarget& dx,
               const GradTarget& dg, Mistake mistake) {
  using A = acc_t<T>;
  const std::int64_t time = x.dim(1);
  const std::int64_t channels = x.dim(2);
  for (std::int64_t c = 0; c < channels; ++c) {
    const A gate = g.data<A>()[c];
    A of_gate = 0;
    for (std::int64_t b = 0; b < x.dim(0); ++b) {
      A later = 0;
      for (std::int64_t t = time - 1; t >= 0; --t) {
        const std::int64_t i = (b * time + t) * channels + c;
        later = A(dy.data<T>()[i]) + gate * later;
        const A before = t > 0 ? A(y.data<T>()[i - channels]) : A(0);
        if (mistake != Mistake::gate_wrong || t < time - 1) of_gate += later * (before - A(x.data<T>()[i]));
        if (!dx.tensor.defined()) continue;
        const A value = (A(1) - gate) * later * (mistake == Mistake::gradient_off ? A(1.001) : A(1));
        T& to = dx.tensor.data<T>()[i];
        to = static_cast<T>(dx.add ? A(to) + value : value);
      }
    }
    if (!dg.tensor.defined()) continue;
    A& to = dg.tensor.data<A>()[c];
    to = dg.add ? to + of_gate : of_gate;
  }
}

void mean_gradient(BackwardContext& context) {
  const Tensor& x = context.saved(0);
  const Tensor& g = context.saved(1);
  const GradTarget dx = context.gradient(0, x.shape());
  const GradTarget dg = context.gradient(1, g.shape());
  dispatch_float(x.dtype(), "running_mean", [&]<class T>() {
    gradients<T>(x, g, context.saved(2), context.output_gradient(), dx, dg,
                 context.attributes<MeanAttributes>().mistake);
  });
}

const OpSpec kMeanSpec{
    .name = "running_mean",
    .formula = "y_t = g y_{t-1} + (1 - g) x_t",
    .gradient = "L_t = dy_t + g L_{t+1}; dx_t = (1 - g) L_t, dg = sum L_t (y_{t-1} - x_t)",
    .saves = "x, g, y",
    .inputs = 2,
    .outputs = 1,
    .differentiable = {0, 1},
    .roles = {InputRole::activation, InputRole::parameter_f32},
    .cached = "running_mean_cached",
    .backward = mean_gradient,
};

Tensor running_mean_cached(const Tensor& x, const Tensor& g, const Tensor& state, Mistake mistake) {
  require_float("running_mean", "x", x);
  require_rank("running_mean", "x", x, 3, "[B,T,C]");
  require_precise("running_mean", "g", g, x);
  require_shape("running_mean", "g", g, {x.dim(2)});
  Tensor y = Tensor::empty(x.shape(), x.dtype());
  dispatch_float(x.dtype(), "running_mean", [&]<class T>() { average<T>(x, g, state, y, mistake); });
  return y;
}

Tensor new_state(const Tensor& x) { return Tensor::zeros({x.dim(0), x.dim(2)}, accumulation_dtype(x.dtype())); }

Tensor running_mean(const Tensor& x, const Tensor& g, Mistake mistake) {
  require_rank("running_mean", "x", x, 3, "[B,T,C]");
  Tensor y = running_mean_cached(x, g, new_state(x), mistake == Mistake::bf16_state ? Mistake::none : mistake);
  if (any_tracked({&x, &g})) record(kMeanSpec, {&x, &g}, {&y}, {&x, &g, &y}, MeanAttributes{mistake});
  return y;
}

Tensor formula(const Tensor& x, const Tensor& g) {
  const Tensor y = Tensor::empty(x.shape(), DType::f64);
  for (std::int64_t i = 0; i < x.numel(); ++i) {
    const std::int64_t c = i % x.dim(2);
    const double before = i / x.dim(2) % x.dim(1) > 0 ? y.at(i - x.dim(2)) : 0;
    y.set(i, g.at(c) * before + (1 - g.at(c)) * x.at(i));
  }
  return y;
}

// Gates from 0.9 to 0.999: an average remembers up to 1,000 tokens.
Tensor gates(std::int64_t channels) {
  const Tensor g = Tensor::empty({channels}, DType::f64);
  for (std::int64_t c = 0; c < channels; ++c) {
    const std::int64_t memory = 10 * (1 + 99 * c / channels);  // tokens
    g.set(c, 1 - 1 / static_cast<double>(memory));
  }
  return g;
}

template <Mistake mistake>
OpCases mean_cases() {
  OpCases all;
  for (const Shape& shape : {Shape{1, 1, 1}, Shape{2, 5, 3}, Shape{1, 40, 2}}) {
    all.cases.push_back({std::to_string(shape[1]) + " tokens",
                         {random_tensor(shape, 1), gates(shape[2])},
                         [](std::span<const Tensor> in) { return std::vector{running_mean(in[0], in[1], mistake)}; },
                         [](std::span<const Tensor> in) { return std::vector{formula(in[0], in[1])}; }});
  }
  all.errors = {{"g of another size",
                 [] {
                   running_mean(random_tensor({1, 2, 3}, 1), gates(2), mistake);
                 },
                 "running_mean: g must be [3], got [2]"}};
  // The mean of x is 1, so that the average is large beside what one token adds to it.
  all.cached = {{.note = "long memory",
                 .inputs =
                     [](std::int64_t tokens) {
                       Tensor x = random_tensor({1, tokens, 4}, 1);
                       for (std::int64_t i = 0; i < x.numel(); ++i) x.set(i, 1 + 0.3 * x.at(i));
                       return std::vector{x, gates(4)};
                     },
                 .sequences = {0},
                 .whole = [](std::span<const Tensor> in) { return std::vector{running_mean(in[0], in[1], mistake)}; },
                 .start = [](std::span<const Tensor> in, std::int64_t) -> PieceFunction {
                   const Tensor state = new_state(in[0]);
                   return [=](std::span<const Tensor> piece, std::int64_t) {
                     return running_mean_cached(piece[0], piece[1], state, mistake);
                   };
                 }}};
  return all;
}

// The laws that fail, "; " between them.
template <Mistake mistake>
std::string broken_laws() {
  std::string titles;
  for (const OperatorLaw& law : operator_laws()) {
    if (!check_law(law, {&kMeanSpec, mean_cases<mistake>}).pass()) {
      titles += (titles.empty() ? "" : "; ") + std::string(law.title);
    }
  }
  return titles;
}

}  // namespace

TEST_CASE("foreign operator: every law is checked without registration, and all hold") {
  const LawReport report = check_operator({&kMeanSpec, mean_cases<Mistake::none>});
  CHECK(report.pass());
  CHECK(report.laws == static_cast<int>(operator_laws().size()) - 1);
  CHECK(report.text() ==
        "running_mean: 9 laws, " + std::to_string(report.checks) + " checks, 0 failed (1 law not run: cuda)");
}

TEST_CASE("foreign operator: a gradient that is 0.1 % too large, or lacks a token, is found") {
  const std::string differences = "gradients are the central differences, and sabotage is caught";
  CHECK(broken_laws<Mistake::gradient_off>() == differences);
  CHECK(broken_laws<Mistake::gate_wrong>().starts_with(differences));
}

TEST_CASE("foreign operator: an average that is kept in bf16 is found by the cached form over many tokens") {
  const std::string pieces = "a sequence in pieces gives what the whole gives, over 10,000 tokens";
  CHECK(broken_laws<Mistake::bf16_state>() == pieces);
  CHECK(broken_laws<Mistake::stale_state>() == pieces);
  const LawReport report = check_operator({&kMeanSpec, mean_cases<Mistake::bf16_state>});
  REQUIRE(report.failures.size() == 1);
  CHECK(report.failures[0].starts_with(pieces + ": long memory, 10000 tokens, bf16: in pieces: tokens "));
}

namespace {

OpBench mean_bench() {
  return {
      .sizes = {{"T", 40, "tokens"}, {"C", 3, "channels", 2}},
      .counted = "4 operations an element forward, 5 backward",
      .make = [](const BenchSizes& s) -> BenchCall {
        const Shape x{2, s["T"], s["C"]};
        const auto elements = static_cast<double>(x.numel());
        return {
            .inputs = {BenchInput::normal(x), BenchInput::normal({s["C"]})},
            .run = [](std::span<const Tensor> in) { return std::vector{running_mean(in[0], in[1], Mistake::none)}; },
            .forward_operations = 4 * elements,
            .backward_operations = 5 * elements,
            .read_again = {0, 1}};
      }};
}

}  // namespace

TEST_CASE("foreign operator: it is timed without registration, and its bytes follow from its roles") {
  const OperatorCases entry{&kMeanSpec, mean_cases<Mistake::none>, mean_bench};
  BenchSizes sizes = bench_sizes(entry);
  sizes.set("T", 50);
  for (const DType dtype : {DType::f64, DType::f32, DType::bf16}) {
    const OperatorTiming timing = time_operator(entry, sizes, {.dtype = dtype, .rounds = 4});
    CHECK(timing.calls == 16);
    for (const TimedPass* pass : {&timing.forward, &timing.backward, &timing.both}) {
      CHECK(pass->seconds.size() == 4);
      CHECK(pass->fastest() > 0);
      CHECK(pass->fastest() <= pass->median());
      CHECK(pass->median() <= pass->slowest());
      CHECK(pass->slowest() < 1);
    }
    const double x = 2.0 * 50 * 3 * static_cast<double>(dtype_bytes(dtype));
    const double g = 3.0 * (dtype == DType::f64 ? 8 : 4);  // kept in f32 beside bf16
    CHECK(timing.forward.bytes == x + g + x);
    CHECK(timing.backward.bytes == x + (x + g) + (x + g));  // dy; x and g; dx and dg
    CHECK(timing.both.bytes == timing.forward.bytes + timing.backward.bytes);
    CHECK(timing.forward.operations == 4.0 * 2 * 50 * 3);
    CHECK(timing.backward.operations == 5.0 * 2 * 50 * 3);
  }
  CHECK(sizes.text() == "T=50 C=3");
  CHECK(error_text<ValueError>([&] { sizes.set("D", 4); }) ==
        "bench of running_mean: a size must be one of the operator's; got \"D\"; sizes: T (tokens), C (channels)");
  CHECK(error_text<ValueError>([&] { sizes.set("C", 1); }) ==
        "bench of running_mean: C (channels) must be at least 2; got 1; correct it");
  CHECK(error_text<ValueError>([&] { static_cast<void>(sizes["D"]); }) ==
        "bench of running_mean: .make asks for the size D, which .sizes lacks; it has T, C");
}

TEST_CASE("foreign operator: one without a bench, or whose bench lacks a part, is refused by name") {
  CHECK(error_text<ValueError>([] {
          bench_of({&kMeanSpec, mean_cases<Mistake::none>});
        }) ==
        "bench of running_mean: the operator has no sizes to be timed at; give its OperatorCases a .bench "
        "(ops/cases/bench.h)");
  CHECK(error_text<ValueError>([] {
          bench_of({&kMeanSpec, mean_cases<Mistake::none>, [] { return OpBench{}; }});
        }) == "bench of running_mean: .sizes is required, got none");
  const OperatorCases short_of_an_input{&kMeanSpec, mean_cases<Mistake::none>, [] {
                                          OpBench bench = mean_bench();
                                          bench.make = [](const BenchSizes& s) {
                                            BenchCall call = mean_bench().make(s);
                                            call.inputs.pop_back();
                                            return call;
                                          };
                                          return bench;
                                        }};
  CHECK(error_text<ValueError>([&] { time_operator(short_of_an_input, bench_sizes(short_of_an_input), {}); }) ==
        "bench of running_mean: .make must give .run and one input for each of the operator's 2; got 1 inputs");
}

TEST_CASE("foreign operator: registered, it is listed after the built-in ones") {
  const std::size_t before = operators().size();
  register_operator({&kMeanSpec, mean_cases<Mistake::none>});
  register_operator({&kMeanSpec, mean_cases<Mistake::none>});  // once more changes nothing
  REQUIRE(operators().size() == before + 1);
  CHECK(operators().back() == &kMeanSpec);
  CHECK(all_cases().back().spec == &kMeanSpec);
  CHECK(find_operator("running_mean") == &kMeanSpec);
  CHECK(find_operator("running") == nullptr);
  CHECK(cases_of(kMeanSpec).cases.size() == 3);
  static const OpSpec other = kMeanSpec;
  CHECK(error_text<ValueError>([] { mixgrad::register_operator(other); }) ==
        "register_operator: the name running_mean is taken by another operator; choose another");
  CHECK(error_text<ValueError>([] { cases_of(other); }) ==
        "cases_of: running_mean has no cases; register_operator({&spec, cases}) adds them");
}

TEST_CASE("foreign operator: a spec that lacks a part is refused, naming the part") {
  const auto refused = [](auto change) {
    OpSpec spec = kMeanSpec;
    change(spec);
    return error_text<ValueError>([&] { require_complete(spec); });
  };
  const std::string start = "operator spec of running_mean: ";
  CHECK(refused([](OpSpec& s) { s.name = ""; }) == "operator spec: .name is required, got none");
  CHECK(refused([](OpSpec& s) { s.formula = nullptr; }) == start + ".formula is required, got none");
  CHECK(refused([](OpSpec& s) { s.gradient = ""; }) ==
        start + ".gradient is required, got none; say \"none\" if it has no gradient");
  CHECK(refused([](OpSpec& s) { s.saves = nullptr; }) ==
        start + ".saves is required, got none; say \"nothing\" if it saves nothing");
  CHECK(refused([](OpSpec& s) { s.inputs = 9; }) == start + ".inputs must be from 1 to 8, got 9");
  CHECK(refused([](OpSpec& s) { s.outputs = 0; }) == start + ".outputs must be from 1 to 2, got 0");
  CHECK(refused([](OpSpec& s) { s.roles = {InputRole::activation}; }) ==
        start + ".roles must name the role of each of the 2 inputs, got 1");
  CHECK(refused([](OpSpec& s) {
          s.differentiable = {0, 4};
        }) == start + ".differentiable must name inputs from 0 to 1, got 4");
  CHECK(refused([](OpSpec& s) {
          s.roles = {InputRole::activation, InputRole::index};
        }) == start + ".differentiable names input 1, whose role is index; an index has no gradient");
  CHECK(refused([](OpSpec& s) { s.backward = nullptr; }) ==
        start + ".backward is required for the 2 differentiable inputs, got none");

  // The tape refuses such a spec too.
  Tensor x = random_tensor({3}, 1);
  Tape tape;
  tape.watch(x);
  Tensor y = x.detach().clone();
  OpSpec spec = kMeanSpec;
  spec.backward = nullptr;
  CHECK(error_text<ValueError>([&] {
          record(spec, {&x, nullptr}, {&y}, {});
        }) == start + ".backward is required for the 2 differentiable inputs, got none");
  CHECK(tape.entries() == 0);
}

namespace {

// Cases of which one part is taken away.
template <int part>
OpCases without() {
  OpCases all = mean_cases<Mistake::none>();
  if (part == 0) all.cases.clear();
  if (part == 1) all.errors.clear();
  if (part == 2) all.cached.clear();
  if (part == 3) all.cases[1].oracle = nullptr;
  if (part == 4) all.cases[1].inputs.pop_back();
  if (part == 5) all.cached[0].start = nullptr;
  if (part == 6) all.cases[1].roles = {InputRole::activation};
  if (part == 7) {
    static const BlockSize blocks[] = {{"tokens", 16}};
    all.block_sizes = blocks;
  }
  return all;
}

template <int part>
std::string refused() {
  return error_text<ValueError>([] { register_operator({&kMeanSpec, without<part>}); });
}

}  // namespace

TEST_CASE("foreign operator: cases that lack a part are refused, naming the part") {
  const std::string start = "cases of running_mean: ";
  CHECK(refused<0>() == start + ".cases is required, got none");
  CHECK(refused<1>() == start + ".errors is required, got none");
  CHECK(refused<2>() == start + ".cached is required, since the spec names the cached form running_mean_cached");
  CHECK(refused<3>() == start + "case \"5 tokens\" needs .oracle, the same from the formula");
  CHECK(refused<4>() == start +
                            "case \"5 tokens\" must have the 2 inputs of the operator, an undefined tensor for one "
                            "that is not given, or say the roles of its own; got 1 inputs and no roles");
  CHECK(refused<5>() == start + "cached case \"long memory\" needs .inputs, .sequences, .whole and .start");
  CHECK(refused<6>() == start + "case \"5 tokens\" must say the role of each of its 2 inputs, got 1");
  CHECK(refused<7>() == start + ".with_size is required, since its kernels have blocks of 16 tokens");
  CHECK(error_text<ValueError>([] { register_operator(OperatorCases{}); }) ==
        "cases of an operator: its spec is required, got none");
  CHECK(error_text<ValueError>([] {
          register_operator(OperatorCases{&kMeanSpec, nullptr});
        }) == "cases of running_mean: a function that makes them is required, got none");
}

}  // namespace mixgrad::test
