// Checks `ema`, an operator outside the library, with the laws that hold for the library's own, and shows that they
// find a mistake of 0.1 % in its gradient. Then it is timed.
//   custom_operator [cuda]
#include <cstdio>
#include <cstring>

#include "ema.h"
#include "ema_cases.h"
#include "ema_kernels.h"
#include "ops/cases/operator_laws.h"
#include "ops/cases/operator_timing.h"

namespace {

using namespace mixgrad;

// ema with a gradient that is too large by 0.1 %; on the CPU.
void wrong_gradient(BackwardContext& context) {
  const Tensor& x = context.saved(0);
  const Tensor& gate = context.saved(1);
  const Tensor dy = context.output_gradient().clone();
  for (std::int64_t i = 0; i < dy.numel(); ++i) dy.set(i, 1.001 * dy.at(i));
  cpu::ema_backward(x, gate, dy, context.gradient(0, x.shape()), context.gradient(1, gate.shape()));
}

const OpSpec wrong_spec = [] {
  OpSpec spec = ema::spec;
  spec.name = "ema, 0.1 % wrong";
  spec.backward = wrong_gradient;
  return spec;
}();

test::OpCases wrong_cases() {
  test::OpCases cases = ema::cases();
  cases.cases = {{"17 tokens, 3 channels",
                  {test::random_tensor({2, 17, 3}, 1), test::random_tensor({3}, 2)},
                  [](std::span<const Tensor> in) {
                    Tensor y = ema::ema(in[0].detach(), in[1].detach());
                    if (any_tracked({&in[0], &in[1]})) record(wrong_spec, {&in[0], &in[1]}, {&y}, {&in[0], &in[1]});
                    return std::vector{y};
                  },
                  cases.cases[2].oracle}};
  return cases;
}

}  // namespace

int main(int count, char** words) try {
  test::LawOptions options;
  if (count > 1 && std::strcmp(words[1], "cuda") == 0) options.device = parse_device("cuda");
  const test::LawReport report = test::check_operator({&ema::spec, ema::cases}, options);
  std::puts(report.text().c_str());

  const test::OperatorLaw& gradients = test::operator_laws()[test::kValueLaws];
  const test::LawReport wrong = test::check_law(gradients, {&wrong_spec, wrong_cases});
  if (!wrong.pass()) std::printf("caught: %s\n", wrong.failures[0].c_str());

  const test::OperatorCases timed{&ema::spec, ema::cases, ema::bench};
  const test::BenchSizes sizes = test::bench_sizes(timed);
  const test::OperatorTiming timing = test::time_operator(timed, sizes, {.device = options.device});
  std::printf("%s: %.3f ms forward, %.3f ms backward, %.1f GB/s\n", sizes.text().c_str(), 1e3 * timing.forward.median(),
              1e3 * timing.backward.median(), timing.both.bytes_per_s() / 1e9);
  return report.pass() && !wrong.pass() ? 0 : 1;
} catch (const mixgrad::Error& error) {
  std::fprintf(stderr, "custom_operator: %s\n", error.what());
  return 1;
}
