#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "autograd/gradcheck_internal.h"
#include "autograd/tape.h"
#include "core/error.h"

namespace mixgrad::gradcheck_internal {
namespace {

double* elements(const Tensor& tensor) { return tensor.data<double>(); }
std::size_t count(const Tensor& tensor) { return static_cast<std::size_t>(tensor.numel()); }

void collect(const std::vector<Tensor>& outputs, Values& values) {
  for (const Tensor& computed : outputs) {
    if (!computed.defined() || computed.dtype() != DType::f64) continue;
    const Tensor output = computed.to(kCpu);
    for (std::int64_t r = 0; r < output.rows(); ++r) {
      const double* row = elements(output) + r * output.row_stride();
      values.insert(values.end(), row, row + output.cols());
    }
  }
}

void check_gaps(const Gradients& gradients, const std::vector<Shape>& shapes, std::string& complaint) {
  const FlatLayout layout(shapes);
  const Tensor host = gradients.flat().to(kCpu);
  const double* flat = elements(host);
  for (std::size_t i = 0; i < shapes.size(); ++i) {
    const std::int64_t end = i + 1 < shapes.size() ? layout.offsets[i + 1] : layout.total;
    for (std::int64_t at = layout.offsets[i] + shapes[i].numel(); at < end; ++at) {
      if (flat[at] != 0) complaint = "the backward pass wrote behind the memory of a gradient";
    }
  }
}

}  // namespace

double largest_of(std::span<const double> values) {
  double largest = 0;
  for (const double v : values) largest = std::max(largest, std::abs(v));
  return largest;
}

double relative_error(std::span<const double> got, std::span<const double> want, double largest) {
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  double error = 0;
  for (std::size_t i = 0; i < want.size(); ++i) {
    const double difference = std::abs(got[i] - want[i]);
    if (!std::isfinite(difference)) return kInfinity;
    error = std::max(error, difference);
  }
  if (error == 0) return 0;
  return largest == 0 ? kInfinity : error / largest;
}

std::string name_of(const std::vector<std::string>& names, std::size_t i) {
  return i < names.size() && !names[i].empty() ? names[i] : "input " + std::to_string(i);
}

void complain(GradcheckRow& row, const std::string& text) { row.detail += (row.detail.empty() ? "" : "; ") + text; }

void finish(GradcheckReport& report, GradcheckRow row) {
  row.pass = row.detail.empty();
  if (!row.vacuous) report.worst = std::max(report.worst, row.max_rel_error);
  report.pass = report.pass && row.pass;
  report.rows.push_back(std::move(row));
}

Subject::Subject(std::span<const Tensor> given, const TensorFunction& run, std::uint64_t differentiable,
                 std::uint64_t seed, Device device)
    : run_(run), device_(device) {
  for (std::size_t i = 0; i < given.size(); ++i) {
    const Tensor& input = given[i];
    inputs.push_back(input.defined() ? input.detach().to(kCpu).clone() : Tensor());
    if (!input.defined() || input.dtype() == DType::i32 || (i < 64 && (differentiable >> i & 1U) == 0U)) continue;
    if (input.dtype() != DType::f64) {
      raise<ValueError>("gradcheck: inputs must be f64 or i32, got ", dtype_name(input.dtype()), " ", input.shape(),
                        " for input ", i, "; convert it with to(DType::f64)");
    }
    tested.push_back(i);
  }
  Rng rng(seed);
  const std::vector<Tensor> outputs = run_(inputs_there());
  collect(outputs, original_);
  for (const Tensor& output : outputs) {
    begins_.push_back(cotangent_.size());
    cotangents_.emplace_back();
    if (!output.defined() || output.dtype() != DType::f64) continue;
    cotangents_.back() = Tensor::empty(output.shape(), DType::f64);
    rng.fill_normal(cotangents_.back(), 0, 1);
    const Values c = cotangents_.back().to_vector();
    cotangent_.insert(cotangent_.end(), c.begin(), c.end());
  }
  begins_.push_back(cotangent_.size());
}

std::span<double> Subject::at(std::size_t tested_index) const {
  const Tensor& input = inputs[tested[tested_index]];
  return {elements(input), count(input)};
}

std::vector<Tensor> Subject::inputs_there() const {
  std::vector<Tensor> there;
  for (const Tensor& input : inputs) there.push_back(input.defined() ? input.to(device_) : input);
  return there;
}

void Subject::evaluate(Values& values) const {
  values.clear();
  collect(run_(inputs_there()), values);
}

double Subject::product(const Values& plus, const Values& minus, int output) const {
  const std::size_t begin = output == kAllOutputs ? 0 : begins_[static_cast<std::size_t>(output)];
  const std::size_t end = output == kAllOutputs ? begins_.back() : begins_[static_cast<std::size_t>(output) + 1];
  double sum = 0;
  for (std::size_t i = begin; i < end; ++i) sum += cotangent_[i] * (plus[i] - minus[i]);
  return sum;
}

std::vector<Values> Subject::gradients(int output, const std::vector<Values>& before) {
  std::vector<Shape> shapes;
  for (const std::size_t i : tested) shapes.push_back(inputs[i].shape());
  Gradients result(shapes, DType::f64, device_);
  result.mark_all_arrived();
  for (std::size_t j = 0; j < tested.size(); ++j) {
    const Values noise =
        before.empty() ? Values(count(result.of(j)), std::numeric_limits<double>::quiet_NaN()) : before[j];
    result.of(j).copy_from(Tensor::from(noise, shapes[j], DType::f64));
  }
  if (before.empty()) result.clear();

  {
    Tape tape;
    std::vector<Tensor> watched = inputs_there();
    for (const std::size_t i : tested) tape.watch(watched[i]);
    const std::vector<Tensor> computed = run_(watched);
    Values values;
    collect(computed, values);
    const bool same = std::equal(values.begin(), values.end(), original_.begin(), original_.end(),
                                 [](double a, double b) { return a == b || (std::isnan(a) && std::isnan(b)); });
    if (!same) complaint = "the outputs are not the same each time, or not when they are recorded on a tape";
    std::vector<Tape::Seed> seeds;
    for (int k = 0; k < outputs(); ++k) {
      const auto index = static_cast<std::size_t>(k);
      const bool wanted = takes_part(k) && (output == kAllOutputs || output == k);
      if (wanted && tracked(computed[index])) {
        seeds.push_back({computed[index], cotangents_[index].to(device_)});
      }
    }
    if (!seeds.empty()) std::move(tape).backward(seeds, result);
  }

  check_gaps(result, shapes, complaint);
  std::vector<Values> values;
  for (std::size_t j = 0; j < tested.size(); ++j) {
    values.push_back(result.arrived(j) ? result.of(j).to_vector() : Values(at(j).size(), 0.0));
  }
  return values;
}

}  // namespace mixgrad::gradcheck_internal
