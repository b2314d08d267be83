// Every operator's gradient: against central differences, checked against sabotage, in three dtypes, and added to what
// other uses of the same tensor send back.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <iterator>
#include <string>

#include "autograd/gradcheck.h"
#include "autograd/tape.h"
#include "core/rng.h"
#include "ops/cases/cases.h"
#include "ops/elementwise/elementwise.h"
#include "tests/support/close.h"
#include "tests/support/op_support.h"
#include "tests/support/sanitized.h"

namespace mixgrad::test {
namespace {

void check_gradients(OpId id) {
  const OpSpec& spec = op_spec(id);
  unsigned seen = 0;           // inputs of the operator that had a gradient which is not zero
  const OneThread one_thread;  // many small calls; that threads change no bit is tested elsewhere
  for (const OpCase& c : cases_of(id).cases) {
    // Central differences repeat the same reads and writes for each element, so a sanitizer sees one case of them; the
    // kernels of every case run for it in the tests below.
    if (kSanitized && seen == spec.differentiable) break;
    const std::string note = c.note;
    CAPTURE(note);
    const GradcheckReport report = gradcheck(c.inputs, c.run, {.device = test_device()});
    CHECK(report.failures() == kNothing);
    CHECK(report.pass);
    const auto floats = std::count_if(c.inputs.begin(), c.inputs.end(), takes_gradient);
    const auto all = std::count_if(report.rows.begin(), report.rows.end(),
                                   [](const GradcheckRow& row) { return row.output == "all"; });
    CHECK(all == floats);  // none was left out
    std::size_t row = 0;
    for (std::size_t i = 0; i < c.inputs.size(); ++i) {
      if (!takes_gradient(c.inputs[i])) continue;
      const GradcheckRow& of_all = report.rows[row++];
      CHECK(of_all.sabotage_caught == !of_all.vacuous);
      if (!inputs_are_the_operators(c)) continue;
      CHECK((spec.differentiable >> i & 1U) == 1U);
      if (!of_all.vacuous) seen |= 1U << i;
    }
  }
  CHECK(seen == spec.differentiable);
}

void check_precision(OpId id, DType dtype, std::uint64_t leaves) {
  for (const OpCase& c : cases_of(id).cases) {
    const std::string note = c.note;
    CAPTURE(note);
    if (leaves == parameters(id) && !roles_are_clear(id, c)) continue;  // among "all leaves" it is there
    const auto floats = std::count_if(c.inputs.begin(), c.inputs.end(), takes_gradient);
    const std::vector<GradientError> errors = gradient_errors(c, of_intermediates(c.run, leaves), dtype, test_device());
    CHECK(static_cast<std::ptrdiff_t>(errors.size()) == floats);
    for (const GradientError& of_input : errors) {
      CAPTURE(of_input.input);
      CHECK(of_input.detail == kNothing);
      CHECK(of_input.error <= allowed_gradient_error(dtype));
    }
  }
}

enum class OtherUse { before, after };

// The inputs as values in the middle of a tape, and used a second time, before or after the operator. The operator must
// then add to what is there, or what it has written (or handed on) is added to.
void check_accumulation(OpId id, OtherUse other) {
  for (const OpCase& c : cases_of(id).cases) {
    const std::string note = c.note;
    CAPTURE(note);
    const Results alone = run_with_gradients(c.run, c.inputs);

    const auto shared_use = [&](std::span<const Tensor> in) {
      std::vector<Tensor> values(in.begin(), in.end());
      std::vector<Tensor> seconds;
      const auto use_again = [&] {
        for (const Tensor& value : values) {
          if (takes_gradient(value))
            seconds.push_back(add(value, Tensor::zeros(value.shape(), value.dtype(), value.device())));
        }
      };
      for (Tensor& value : values) {
        if (takes_gradient(value)) value = add(value, Tensor::zeros(value.shape(), value.dtype(), value.device()));
      }
      if (other == OtherUse::before) use_again();
      std::vector<Tensor> outputs = c.run(values);
      if (other == OtherUse::after) use_again();
      outputs.insert(outputs.end(), seconds.begin(), seconds.end());
      return outputs;
    };
    const Results both = run_with_gradients(shared_use, c.inputs);
    // The cotangents of the second uses, as run_with_gradients draws them.
    std::uint64_t seed = 77 + alone.outputs.size();
    for (std::size_t i = 0; i < alone.gradients.size(); ++i, ++seed) {
      CAPTURE(i);
      const Tensor cotangent = Tensor::empty(alone.gradients[i].shape(), DType::f64);
      Rng rng(seed);
      rng.fill_normal(cotangent, 0, 1);
      const Tensor want = cotangent.to(DType::bf16).to(DType::f64);
      for (std::int64_t e = 0; e < want.numel(); ++e) want.set(e, want.at(e) + alone.gradients[i].at(e));
      const std::string difference = not_close(both.gradients[i], want, 1e-12);
      CHECK(difference == kNothing);
    }
  }
}

constexpr const char* kGradientFile = __FILE__;

void check_bf16_with_any_leaves(OpId id) {
  check_precision(id, DType::bf16, all_inputs());
  check_precision(id, DType::bf16, 0);
}

void check_accumulation_in_both_orders(OpId id) {
  check_accumulation(id, OtherUse::before);
  check_accumulation(id, OtherUse::after);
}

#define OP(name, folder)                                                                                              \
  [[maybe_unused]] const int name##_gradient_tests[] = {                                                              \
      register_test(kGradientFile, __LINE__, #name ": gradients are the central differences, and sabotage is caught", \
                    [] { check_gradients(OpId::name); }),                                                             \
      register_test(kGradientFile, __LINE__, #name ": gradients in f32 are those in f64",                             \
                    [] { check_precision(OpId::name, DType::f32, all_inputs()); }),                                   \
      register_test(kGradientFile, __LINE__,                                                                          \
                    #name ": gradients in bf16 are near those in f64, with the roles of a model",                     \
                    [] { check_precision(OpId::name, DType::bf16, parameters(OpId::name)); }),                        \
      register_test(kGradientFile, __LINE__, #name ": gradients in bf16 are near those in f64, whatever is a leaf",   \
                    [] { check_bf16_with_any_leaves(OpId::name); }),                                                  \
      register_test(kGradientFile, __LINE__,                                                                          \
                    #name ": gradients of intermediate values add up with those of other uses",                       \
                    [] { check_accumulation_in_both_orders(OpId::name); }),                                           \
  };
#include "ops/op_list.def"
#undef OP

}  // namespace

TEST_CASE("all operators: five gradient tests are registered for each") {
  const int tests = 0
#define OP(name, folder) +static_cast<int>(std::size(name##_gradient_tests))
#include "ops/op_list.def"
#undef OP
      ;
  CHECK(tests == 5 * kOpCount);
}

}  // namespace mixgrad::test
