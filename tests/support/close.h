// How close two tensors are, and where they are not. doctest::Approx is loose for small numbers, so it is not used.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <sstream>
#include <string>
#include <vector>

#include "core/parallel.h"
#include "core/tensor.h"

namespace mixgrad::test {

// What comparisons and laws report where nothing is wrong.
inline const std::string kNothing;
inline const std::string kHolds;

inline double largest_of(const Tensor& tensor) {
  double largest = 0;
  for (const double v : tensor.to_vector()) largest = std::max(largest, std::abs(v));
  return largest;
}

struct Difference {
  double error = 0;  // largest |got - want|; infinity where one of them is not finite
  std::int64_t at = 0;
};

inline Difference largest_difference(const Tensor& got, const Tensor& want) {
  Difference worst;
  const std::vector<double> is = got.to_vector();
  const std::vector<double> must_be = want.to_vector();
  for (std::size_t i = 0; i < must_be.size(); ++i) {
    double error = std::abs(is[i] - must_be[i]);
    if (!std::isfinite(error)) error = std::numeric_limits<double>::infinity();
    if (error > worst.error) worst = {error, static_cast<std::int64_t>(i)};
  }
  return worst;
}

// Empty when |got - want| <= tolerance scale everywhere; else where and by how much it is not.
inline std::string not_close_to_scale(const Tensor& got, const Tensor& want, double tolerance, double scale) {
  std::ostringstream text;
  text.precision(12);
  if (!(got.shape() == want.shape())) {
    text << "shape " << got.shape() << ", must be " << want.shape();
    return text.str();
  }
  if (want.numel() == 0) return {};
  const Difference worst = largest_difference(got, want);
  if (worst.error <= tolerance * scale) return {};
  text << "element " << worst.at << " of " << want.shape() << " is " << got.at(worst.at) << ", must be "
       << want.at(worst.at) << ": error " << worst.error / scale << " of " << scale << ", allowed " << tolerance;
  return text.str();
}

// The same with the largest |want| as the scale, but at least 1.
inline std::string not_close(const Tensor& got, const Tensor& want, double tolerance) {
  return not_close_to_scale(got, want, tolerance, std::max(1.0, largest_of(want)));
}

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
