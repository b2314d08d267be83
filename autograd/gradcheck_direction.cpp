#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <sstream>
#include <utility>

#include "autograd/gradcheck.h"
#include "autograd/gradcheck_internal.h"

namespace mixgrad {
namespace {

using namespace gradcheck_internal;  // NOLINT(google-build-using-namespace): the other half of this file

constexpr std::size_t kSteps = 10;

// d f(x + t d) / dt at t = 0: central differences with steps halved, extrapolated to zero in Neville's tableau. Of all
// entries the one that differs least from its neighbours counts, so kinks within the larger steps do no harm. Entries
// of small steps may agree to the last bit by chance and yet be wrong by rounding / step, where rounding is the error
// of f; so no entry counts as better known than that.
struct Slope {
  double value = 0;
  double uncertainty = std::numeric_limits<double>::infinity();
};

template <class Difference>
Slope extrapolated_slope(double first_step, double rounding, const Difference& difference) {
  std::array<double, kSteps> row{};
  std::array<double, kSteps> previous{};
  Slope slope;
  double step = first_step;
  for (std::size_t i = 0; i < kSteps; ++i, step /= 2) {
    row[0] = difference(step);
    double factor = 4;
    for (std::size_t j = 1; j <= i; ++j, factor *= 4) {
      row[j] = (row[j - 1] * factor - previous[j - 1]) / (factor - 1);
      const double doubt =
          std::max({std::abs(row[j] - row[j - 1]), std::abs(row[j] - previous[j - 1]), rounding / step});
      if (doubt <= slope.uncertainty) slope = {row[j], doubt};
    }
    previous = row;
  }
  return slope;
}

// Random signs, sizes within a factor of three (so that no element escapes), in the scale of the input.
Values random_direction(std::span<const double> x, Rng& rng) {
  double squares = 0;
  for (const double v : x) squares += v * v;
  const double scale = squares > 0 ? std::sqrt(squares / static_cast<double>(x.size())) : 1;
  Values direction(x.size());
  for (double& d : direction) d = (rng.below(2) == 0 ? -scale : scale) * (0.5 + rng.uniform());
  return direction;
}

struct Projection {
  double value = 0;  // <gradient, d>
  double scale = 0;  // the size that it has when its terms are independent, or its own
};

Projection project(const std::vector<Values>& gradient, const std::vector<Values>& direction) {
  Projection projection;
  double squares = 0;
  for (std::size_t j = 0; j < direction.size(); ++j) {
    for (std::size_t i = 0; i < direction[j].size(); ++i) {
      const double term = gradient[j][i] * direction[j][i];
      projection.value += term;
      squares += term * term;
    }
  }
  projection.scale = std::max(std::abs(projection.value), std::sqrt(squares));
  return projection;
}

// Moves all tested inputs along x + t d; the destructor moves them back.
class MoveAlong {
 public:
  MoveAlong(const Subject& subject, const std::vector<Values>& direction) : subject_(subject), direction_(direction) {
    for (std::size_t j = 0; j < direction.size(); ++j) {
      origin_.emplace_back(subject.at(j).begin(), subject.at(j).end());
    }
  }
  ~MoveAlong() { move(0); }
  MoveAlong(const MoveAlong&) = delete;
  MoveAlong& operator=(const MoveAlong&) = delete;

  // How far one evaluation of the function may be off: one unit in the last place of its value at the origin.
  double rounding() {
    move(0);
    subject_.evaluate(plus_);
    minus_.assign(plus_.size(), 0);
    return std::numeric_limits<double>::epsilon() * std::abs(subject_.product(plus_, minus_, kAllOutputs));
  }

  double difference(double step) {
    move(step);
    subject_.evaluate(plus_);
    move(-step);
    subject_.evaluate(minus_);
    return subject_.product(plus_, minus_, kAllOutputs) / (2 * step);
  }

 private:
  void move(double t) const {
    for (std::size_t j = 0; j < direction_.size(); ++j) {
      const std::span<double> x = subject_.at(j);
      for (std::size_t i = 0; i < direction_[j].size(); ++i) x[i] = origin_[j][i] + t * direction_[j][i];
    }
  }
  const Subject& subject_;
  const std::vector<Values>& direction_;
  std::vector<Values> origin_;
  Values plus_;
  Values minus_;
};

// alone: the only input that the direction moves, or -1.
GradcheckRow check_direction(const Subject& subject, const std::vector<Values>& gradient,
                             const std::vector<Values>& direction, int alone, const GradcheckDirectionOptions& options,
                             Rng& rng) {
  MoveAlong line(subject, direction);
  const Slope slope =
      extrapolated_slope(options.first_step, line.rounding(), [&](double step) { return line.difference(step); });
  const Projection analytic = project(gradient, direction);
  GradcheckRow row;
  row.output = "all";
  row.largest = std::max(std::abs(slope.value), analytic.scale);
  row.vacuous = row.largest < kZeroGradient;
  const auto error_of = [&](double projected) {
    return relative_error(std::span(&projected, 1), std::span(&slope.value, 1), row.vacuous ? 1 : row.largest);
  };
  row.max_rel_error = error_of(analytic.value);
  if (!(row.max_rel_error <= options.tolerance)) {
    std::ostringstream text;
    text.precision(14);
    text << "<gradient, d> is " << analytic.value << ", must be " << slope.value << " (+- " << slope.uncertainty << ")";
    complain(row, text.str());
  }
  if (row.vacuous) return row;

  std::string missed;
  if (error_of(analytic.value * (1 + kSabotage)) <= options.tolerance) missed = "scale";
  if (alone >= 0) {  // beside much larger gradients of other inputs one element need not show
    const auto j = static_cast<std::size_t>(alone);
    const std::size_t i = rng.below(direction[j].size());
    const double spoilt = analytic.value + kSabotage * largest_of(gradient[j]) * direction[j][i];
    if (error_of(spoilt) <= options.tolerance) missed += missed.empty() ? "element" : ", element";
  }
  row.sabotage_caught = missed.empty();
  if (!missed.empty()) complain(row, "a gradient spoilt by 0.1 % passes: " + missed);
  return row;
}

// A direction in which <gradient, d> does not happen to cancel; of all inputs, or of one alone.
std::vector<Values> draw(const Subject& subject, const std::vector<Values>& gradient, int alone, Rng& rng) {
  std::vector<Values> direction;
  for (int attempt = 0; attempt < 20; ++attempt) {
    direction.clear();
    for (std::size_t j = 0; j < subject.tested.size(); ++j) {
      const bool moves = alone < 0 || j == static_cast<std::size_t>(alone);
      direction.push_back(moves ? random_direction(subject.at(j), rng) : Values());
    }
    const Projection projection = project(gradient, direction);
    if (std::abs(projection.value) > 0.1 * projection.scale) break;
  }
  return direction;
}

}  // namespace

GradcheckReport gradcheck_direction(std::span<const Tensor> inputs, const TensorFunction& run,
                                    const GradcheckDirectionOptions& options) {
  Subject subject(inputs, run, options.differentiable, options.seed, options.device);
  Rng rng(options.seed + 1);
  const std::vector<Values> gradient = subject.gradients(kAllOutputs, {});
  GradcheckReport report;
  const auto check = [&](int alone, const std::string& name) {
    const std::vector<Values> direction = draw(subject, gradient, alone, rng);
    GradcheckRow row = check_direction(subject, gradient, direction, alone, options, rng);
    row.input = name;
    if (!subject.complaint.empty()) complain(row, subject.complaint);
    finish(report, std::move(row));
  };
  if (subject.tested.empty()) return report;
  for (int k = 0; k < options.directions; ++k) check(-1, "direction " + std::to_string(k) + " of all inputs");
  for (std::size_t j = 0; options.each_input && j < subject.tested.size(); ++j) {
    if (!subject.at(j).empty()) check(static_cast<int>(j), name_of(options.names, subject.tested[j]));
  }
  return report;
}

}  // namespace mixgrad
