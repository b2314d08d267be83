// What tests compare: closeness (ops/cases/close.h; doctest::Approx is loose for small numbers, so it is not used), the
// text of an error, and a number of threads for a scope.
#pragma once

#include <exception>
#include <string>

#include "core/parallel.h"
#include "ops/cases/close.h"

namespace mixgrad::test {

// What comparisons and laws report when nothing is wrong.
inline const std::string kNothing;
inline const std::string kHolds;

// The text that `call` throws as an E; what else happened otherwise.
template <class E, class Call>
std::string error_text(const Call& call) {
  try {
    call();
  } catch (const E& error) {
    return error.what();
  } catch (const std::exception& error) {
    return std::string("(an exception of another type) ") + error.what();
  }
  return "(no exception)";
}

// So many threads until the scope ends.
struct Threads : ContextScope {
  explicit Threads(int count) : ContextScope(with_threads(count)) {}
};

// One thread, where very many small tensors are computed: waiting for each other would take most of the time. That the
// number of threads changes no bit is tested elsewhere (reproducible_test.cpp).
struct OneThread : Threads {
  OneThread() : Threads(1) {}
};

}  // namespace mixgrad::test
