// What the tests of all operators share: their registration, and which inputs are parameters of a model.
#pragma once

#include <doctest/doctest.h>

#include <span>
#include <string>
#include <vector>

#include "ops/cases/case_gradients.h"
#include "ops/elementwise/elementwise.h"
#include "tests/support/device.h"

namespace mixgrad::test {

// A test of one operator of op_list.def. TEST_CASE would file it under the list, and ctest runs the tests file by file.
inline int register_test(const char* file, unsigned line, const char* title, void (*test)()) {
  namespace detail = doctest::detail;
  return detail::regTest(detail::TestCase(test, file, line, doctest_detail_test_suite_ns::getCurrentTestSuite()) *
                         title);
}

inline OpCases cases_of(OpId id) { return all_cases()[static_cast<std::size_t>(id)].make(); }

// A case whose inputs are not the operator's, one by one: its note says so first.
inline bool inputs_are_the_operators(const OpCase& c) {
  return c.note.rfind("packed", 0) != 0 && c.note.rfind("shared", 0) != 0;
}

inline std::uint64_t all_inputs() { return ~std::uint64_t{0}; }

// Inputs of an operator that are parameters of a model, the leaves of its tape; the others are activations.
inline std::uint64_t parameters(OpId id) {
  switch (id) {
    case OpId::linear:
    case OpId::embedding:
    case OpId::layer_norm:
    case OpId::shift_mix:
    case OpId::causal_conv: return 0b110;
    case OpId::selective_scan: return 0b100100;
    case OpId::add_layer_norm: return 0b1100;
    case OpId::rms_norm:
    case OpId::linear_cross_entropy: return 0b10;
    case OpId::head_linear: return 0b11010;
    case OpId::add_rms_norm: return 0b100;
    default: return 0;
  }
}

// In which cases `parameters` tells the inputs apart.
inline bool roles_are_clear(OpId id, const OpCase& c) { return parameters(id) == 0 || c.note.rfind("shared", 0) != 0; }

// The same function of sums x + 0 for all inputs but `leaves`: these are then values in the middle of a tape.
inline Function of_intermediates(const Function& run, std::uint64_t leaves) {
  return [=](std::span<const Tensor> in) {
    std::vector<Tensor> values(in.begin(), in.end());
    for (std::size_t i = 0; i < values.size(); ++i) {
      if (!takes_gradient(values[i]) || (leaves >> i & 1U) == 1U) continue;
      values[i] = add(values[i], Tensor::zeros(values[i].shape(), values[i].dtype(), values[i].device()));
    }
    return run(values);
  };
}

// On the device under test.
inline Results run_with_gradients(const Function& run, const std::vector<Tensor>& inputs) {
  return run_with_gradients(run, inputs, test_device());
}

}  // namespace mixgrad::test
