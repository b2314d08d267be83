// What tests of operators share: a test for each law and each built-in operator.
#pragma once

#include <doctest/doctest.h>

#include <cstddef>
#include <deque>
#include <string>
#include <utility>
#include <vector>

#include "ops/cases/case_gradients.h"
#include "ops/cases/operator_laws.h"
#include "tests/support/device.h"
#include "tests/support/sanitized.h"

namespace mixgrad::test {

// On the device under test.
inline Results run_with_gradients(const Function& run, const std::vector<Tensor>& inputs) {
  return run_with_gradients(run, inputs, test_device());
}

// Whether a law has something to check for an operator on the device under test.
inline bool applies(const OperatorLaw& law, const OpSpec& spec) {
  return (!law.needs_cuda || test_device().is_cuda()) && (!law.needs_cached_form || spec.cached != nullptr);
}

template <std::size_t law, std::size_t op>
void check_law_of_operator() {
  const LawReport report =
      check_law(operator_laws()[law], all_cases()[op], {.device = test_device(), .brief = kSanitized});
  CHECK(report.checks > 0);
  INFO(report.text());
  CHECK(report.pass());
}

// A test "OPERATOR: LAW". TEST_CASE takes no arguments, and it would file them all under this header.
template <std::size_t law, std::size_t op>
int register_law(const char* file, unsigned line) {
  if (!applies(operator_laws()[law], *all_cases()[op].spec)) return 0;
  static std::deque<std::string> titles;
  titles.push_back(std::string(all_cases()[op].spec->name) + ": " + operator_laws()[law].title);
  namespace detail = doctest::detail;
  detail::regTest(detail::TestCase(check_law_of_operator<law, op>, file, line,
                                   doctest_detail_test_suite_ns::getCurrentTestSuite()) *
                  titles.back().c_str());
  return 1;
}

template <std::size_t law, std::size_t... ops>
int register_law_of_all(const char* file, unsigned line, std::index_sequence<ops...>) {
  return (register_law<law, ops>(file, line) + ... + 0);
}

// Registers the laws from `first` on for every built-in operator; returns the number of tests.
template <std::size_t first, std::size_t... laws>
int register_laws(const char* file, unsigned line, std::index_sequence<laws...>) {
  return (register_law_of_all<first + laws>(file, line, std::make_index_sequence<kBuiltInOperators>()) + ... + 0);
}

}  // namespace mixgrad::test
