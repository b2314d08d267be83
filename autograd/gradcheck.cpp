#include "autograd/gradcheck.h"

#include <algorithm>
#include <cmath>
#include <sstream>
#include <utility>

#include "autograd/gradcheck_internal.h"

namespace mixgrad {
namespace {

using gradcheck_internal::complain;
using gradcheck_internal::finish;
using gradcheck_internal::kAllOutputs;
using gradcheck_internal::kSabotage;
using gradcheck_internal::kZeroGradient;
using gradcheck_internal::largest_of;
using gradcheck_internal::name_of;
using gradcheck_internal::relative_error;
using gradcheck_internal::Subject;
using gradcheck_internal::Values;

constexpr double kAccumulationTolerance = 1e-12;

std::size_t index_of_worst(std::span<const double> got, std::span<const double> want) {
  std::size_t worst = 0;
  double error = -1;
  for (std::size_t i = 0; i < want.size(); ++i) {
    const double difference = std::abs(got[i] - want[i]);
    if (!std::isfinite(difference)) return i;
    if (difference > error) {
      error = difference;
      worst = i;
    }
  }
  return worst;
}

// One element's numeric gradient for all outputs together (first) and each alone.
class Differences {
 public:
  explicit Differences(const Subject& subject) : subject_(subject) {}

  // (f(x+h) - f(x-h)) / 2h
  void two_point(double& x, double h, Values& result) {
    const double before = x;
    const double high = before + h;
    const double low = before - h;
    x = high;
    subject_.evaluate(plus_);
    x = low;
    subject_.evaluate(minus_);
    x = before;
    result.clear();
    for (int k = kAllOutputs; k < subject_.outputs(); ++k) {
      result.push_back(subject_.product(plus_, minus_, k) / (high - low));
    }
  }

  // (4 D(h) - D(2h)) / 3: the error is of fourth order, for functions that bend strongly.
  void four_point(double& x, double h, Values& result) {
    two_point(x, 2 * h, wide_);
    two_point(x, h, result);
    for (std::size_t k = 0; k < result.size(); ++k) result[k] = (4 * result[k] - wide_[k]) / 3;
  }

 private:
  const Subject& subject_;
  Values plus_;
  Values minus_;
  Values wide_;
};

// The three ways to spoil a gradient; names those that the comparison lets pass.
std::string missed_sabotage(const Values& analytic, const Values& numeric, const Shape& shape, double largest,
                            double tolerance, Rng& rng) {
  std::string missed;
  const auto rejects = [&](const Values& spoilt, const char* how) {
    if (relative_error(spoilt, numeric, largest) > tolerance) return;
    missed += std::string(missed.empty() ? "" : ", ") + how;
  };
  Values spoilt = analytic;
  for (double& v : spoilt) v *= 1 + kSabotage;
  rejects(spoilt, "scale");

  spoilt = analytic;
  spoilt[rng.below(spoilt.size())] += kSabotage * largest;
  rejects(spoilt, "element");

  spoilt = analytic;
  const auto slices = static_cast<std::size_t>(shape.rank() == 0 ? 1 : shape[0]);
  const std::size_t width = spoilt.size() / slices;
  const std::size_t begin = rng.below(slices) * width;
  for (std::size_t i = begin; i < begin + width; ++i) spoilt[i] += kSabotage * largest;
  rejects(spoilt, "row");
  return missed;
}

// Compares one input's gradient, written and added, with the numeric one.
GradcheckRow judge(const Values& numeric, const Values& written, const Values& before, const Values& added,
                   const Shape& shape, double tolerance, Rng& rng) {
  GradcheckRow row;
  row.largest = largest_of(numeric);
  row.vacuous = row.largest < kZeroGradient && relative_error(written, Values(written.size(), 0.0), 1) < kZeroGradient;
  row.max_rel_error = relative_error(written, numeric, row.vacuous ? 1 : row.largest);
  const auto describe = [&](const Values& got, const Values& want, const char* what) {
    const std::size_t i = index_of_worst(got, want);
    std::ostringstream text;
    text.precision(12);
    text << what << " of element " << i << " is " << got[i] << ", must be " << want[i] << " (largest " << row.largest
         << ")";
    complain(row, text.str());
  };
  if (!(row.max_rel_error <= tolerance)) describe(written, numeric, "the gradient");

  Values want = before;
  for (std::size_t i = 0; i < want.size(); ++i) want[i] += written[i];
  row.accumulation_error = relative_error(added, want, std::max(row.largest, largest_of(before)));
  if (!(row.accumulation_error <= kAccumulationTolerance)) describe(added, want, "noise + gradient");

  if (!row.vacuous) {
    const std::string missed = missed_sabotage(written, numeric, shape, row.largest, tolerance, rng);
    row.sabotage_caught = missed.empty();
    if (!missed.empty()) complain(row, "a gradient spoilt by 0.1 % passes: " + missed);
  }
  return row;
}

}  // namespace

std::string GradcheckReport::failures() const {
  std::ostringstream text;
  for (const GradcheckRow& row : rows) {
    if (row.pass) continue;
    text << row.input << ", " << row.output << ": error " << row.max_rel_error << "; " << row.detail << '\n';
  }
  return text.str();
}

GradcheckReport gradcheck(std::span<const Tensor> inputs, const TensorFunction& run, const GradcheckOptions& options) {
  Subject subject(inputs, run, options.differentiable, options.seed, options.device);
  Differences differences(subject);
  Rng rng(options.seed + 1);

  const int first_choice = subject.outputs() > 1 ? subject.outputs() : 0;  // "all" only, or each alone too
  std::vector<int> choices{kAllOutputs};
  for (int k = 0; k < first_choice; ++k) {
    if (subject.takes_part(k)) choices.push_back(k);
  }
  std::vector<std::vector<Values>> written;  // [choice][tested input]
  for (const int output : choices) written.push_back(subject.gradients(output, {}));

  GradcheckReport report;
  std::vector<std::vector<Values>> numeric(choices.size());  // likewise
  for (std::size_t j = 0; j < subject.tested.size(); ++j) {
    const std::span<double> x = subject.at(j);
    for (auto& of_choice : numeric) of_choice.emplace_back(x.size());
    const auto measure = [&](std::size_t i, bool precisely) {
      Values result;
      const double h = options.step * std::max(1.0, std::abs(x[i]));
      if (precisely) {
        differences.four_point(x[i], 10 * h, result);
      } else {
        differences.two_point(x[i], h, result);
      }
      for (std::size_t c = 0; c < choices.size(); ++c) {
        numeric[c][j][i] = result[static_cast<std::size_t>(choices[c] + 1)];
      }
    };
    for (std::size_t i = 0; i < x.size(); ++i) measure(i, false);
    // Where the two disagree, the better formula decides, so that curvature alone is never a failure.
    for (std::size_t c = 0; c < choices.size(); ++c) {
      const double allowed = std::max(0.5 * options.tolerance * largest_of(numeric[c][j]), 0.1 * kZeroGradient);
      for (std::size_t i = 0; i < x.size(); ++i) {
        if (!(std::abs(written[c][j][i] - numeric[c][j][i]) <= allowed)) measure(i, true);
      }
    }
  }

  for (std::size_t c = 0; c < choices.size(); ++c) {
    std::vector<Values> before;
    for (std::size_t j = 0; j < subject.tested.size(); ++j) {
      const double largest = largest_of(numeric[c][j]);
      const Tensor noise = Tensor::empty({static_cast<std::int64_t>(numeric[c][j].size())}, DType::f64);
      rng.fill_normal(noise, 0, largest < kZeroGradient ? 1 : largest);
      before.push_back(noise.to_vector());
    }
    const std::vector<Values> added = subject.gradients(choices[c], before);
    for (std::size_t j = 0; j < subject.tested.size(); ++j) {
      const Shape& shape = subject.inputs[subject.tested[j]].shape();
      if (shape.numel() == 0) continue;
      GradcheckRow row = judge(numeric[c][j], written[c][j], before[j], added[j], shape, options.tolerance, rng);
      row.input = name_of(options.names, subject.tested[j]);
      row.output = choices[c] == kAllOutputs ? "all" : "output " + std::to_string(choices[c]);
      if (!subject.complaint.empty()) complain(row, subject.complaint);
      finish(report, std::move(row));
    }
  }
  return report;
}

}  // namespace mixgrad
