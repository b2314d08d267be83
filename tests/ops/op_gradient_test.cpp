// The laws of every operator's gradient (ops/cases/operator_laws.h): against central differences, checked against
// sabotage, in three dtypes, and added to what other uses of the same tensor send back.
#include <doctest/doctest.h>

#include "tests/support/op_support.h"

namespace mixgrad::test {
namespace {

const int kGradientTests = register_laws<kValueLaws>(__FILE__, __LINE__, std::make_index_sequence<4>());

}  // namespace

TEST_CASE("all operators: every law of gradients is tested for each") {
  CHECK(operator_laws().size() == kValueLaws + 4);
  CHECK(static_cast<std::size_t>(kGradientTests) == 4 * kBuiltInOperators);
}

}  // namespace mixgrad::test
