// The laws of every operator's values (ops/cases/operator_laws.h): its oracle in three dtypes, its errors, the same
// bits whatever the number of threads, its cached form. The gradients are in op_gradient_test.cpp.
#include <doctest/doctest.h>

#include <thread>

#include "ops/cases/law_support.h"
#include "ops/elementwise/elementwise.h"
#include "tests/support/close.h"
#include "tests/support/op_support.h"

namespace mixgrad::test {
namespace {

const int kValueTests = register_laws<0>(__FILE__, __LINE__, std::make_index_sequence<kValueLaws>());

}  // namespace

TEST_CASE("all operators: every law of values is tested for each to which it applies") {
  int expected = 0;
  for (const OperatorLaw& law : operator_laws().first(kValueLaws)) {
    for (const OperatorCases& entry : all_cases().first(kBuiltInOperators))
      expected += applies(law, *entry.spec) ? 1 : 0;
  }
  CHECK(kValueTests == expected);
  CHECK(kValueTests >= 4 * static_cast<int>(kBuiltInOperators));
}

TEST_CASE("all operators: the cases are many, distinct and reproducible") {
  for (const OperatorCases& entry : all_cases().first(kBuiltInOperators)) {
    const std::string name = entry.spec->name;
    CAPTURE(name);
    const OpCases once = entry.make();
    const OpCases again = entry.make();
    CHECK(once.cases.size() >= 5);
    CHECK(once.errors.size() >= 2);
    REQUIRE(once.cases.size() == again.cases.size());
    for (std::size_t i = 0; i < once.cases.size(); ++i) {
      CHECK(equal_bits(once.cases[i].oracle(once.cases[i].inputs), again.cases[i].oracle(again.cases[i].inputs)));
      for (std::size_t j = 0; j < i; ++j) CHECK(once.cases[i].note != once.cases[j].note);
    }
  }
}

// A thread starts with denormals on. Whether it computes all by itself or with others must not show.
TEST_CASE("silu: denormal results do not depend on the number of threads") {
  std::vector<Tensor> results;
  for (const int count : {1, 2}) {
    std::thread fresh([&] {
      const Threads used(count);
      results.push_back(silu(Tensor::full({100, 1000}, DType::f32, 1e-39)));
    });
    fresh.join();
  }
  CHECK(results[0].equal_bits(results[1]));
}

}  // namespace mixgrad::test
