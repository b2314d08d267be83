#include "ops/cases/case_gradients.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <sstream>

#include "autograd/gradcheck.h"
#include "autograd/tape.h"
#include "core/error.h"
#include "core/numeric/unsigned_nan.h"
#include "core/rng.h"
#include "ops/cases/close.h"

namespace mixgrad::test {
namespace {

GradientRow compare(std::size_t input, const Tensor& got, const Tensor& want, double scale, double allowed) {
  GradientRow result;
  result.input = input;
  std::ostringstream text;
  text.precision(12);
  if (got.dtype() != DType::f32 || !(got.shape() == want.shape())) {
    result.error = std::numeric_limits<double>::infinity();
    text << "the gradient is " << dtype_name(got.dtype()) << " " << got.shape() << ", must be f32 " << want.shape();
    result.detail = text.str();
    return result;
  }
  std::int64_t at = 0;
  for (std::int64_t i = 0; i < want.numel(); ++i) {
    double error = std::abs(got.at(i) - want.at(i)) / scale;
    if (!std::isfinite(error)) error = std::numeric_limits<double>::infinity();
    if (error <= result.error) continue;
    result.error = error;
    at = i;
  }
  if (result.error <= allowed) return result;
  text << "the gradient of element " << at << " is " << unsigned_nan(got.at(at)) << ", must be "
       << unsigned_nan(want.at(at)) << " (scale " << scale << ", allowed " << allowed << ")";
  result.detail = text.str();
  return result;
}

}  // namespace

std::vector<Tensor> inputs_as(const OpCase& c, DType dtype) {
  std::vector<Tensor> inputs;
  for (std::size_t i = 0; i < c.inputs.size(); ++i) {
    const bool in_f32 = dtype == DType::bf16 && i < c.roles.size() && is_kept_in_f32(c.roles[i]);
    const Tensor& input = c.inputs[i];
    inputs.push_back(takes_gradient(input) ? input.to(in_f32 ? DType::f32 : dtype) : input);
  }
  return inputs;
}

std::vector<Tensor> rounded_inputs(const OpCase& c, DType dtype) {
  std::vector<Tensor> inputs = inputs_as(c, dtype);
  for (Tensor& input : inputs) {
    if (takes_gradient(input)) input = input.to(DType::f64);
  }
  return inputs;
}

Results run_with_gradients(const Function& run, const std::vector<Tensor>& given, Device device) {
  Results results;
  std::vector<Tensor> inputs;
  Tape tape;
  DType dtype = DType::f64;
  for (const Tensor& input : given) {
    inputs.push_back(input.defined() ? input.to(device) : input);
    if (!takes_gradient(input)) continue;
    dtype = input.dtype();
    tape.watch(inputs.back());
  }
  results.outputs = run(inputs);
  std::vector<Tape::Seed> seeds;
  std::uint64_t seed = kFirstCotangent;
  for (const Tensor& output : results.outputs) {
    const Tensor cotangent = Tensor::empty(output.shape(), DType::f64);
    Rng rng(seed++);
    rng.fill_normal(cotangent, 0, 1);
    if (tracked(output)) seeds.push_back({output, cotangent.to(DType::bf16).to(output.dtype()).to(device)});
  }
  const std::vector<Shape> shapes = tape.leaf_shapes();
  Gradients gradients(shapes, accumulation_dtype(dtype), device);
  if (!seeds.empty()) std::move(tape).backward(seeds, gradients);
  for (std::size_t i = 0; i < shapes.size(); ++i) {
    results.gradients.push_back(gradients.arrived(i) ? gradients.of(i).clone().to(kCpu)
                                                     : Tensor::zeros(shapes[i], gradients.flat().dtype()));
  }
  for (Tensor& output : results.outputs) output = output.detach().to(kCpu);
  return results;
}

double allowed_gradient_error(DType dtype) {
  switch (dtype) {
    case DType::f64: return GradcheckOptions().tolerance;
    case DType::f32: return 1e-4;
    case DType::bf16: return 5e-2;
    case DType::i32: break;
  }
  raise<DTypeError>("allowed_gradient_error: must be f64, f32 or bf16, got ", dtype_name(dtype));
}

namespace {

std::vector<GradientRow> against_differences(const OpCase& c, const Function& run, Device device) {
  std::vector<std::string> names;  // the number of each input, since the report names inputs
  for (std::size_t i = 0; i < c.inputs.size(); ++i) names.push_back(std::to_string(i));
  std::vector<GradientRow> rows;
  for (const GradcheckRow& row : gradcheck(c.inputs, run, {.names = names, .device = device}).rows) {
    rows.push_back({.input = std::stoul(row.input),
                    .output = row.output,
                    .error = row.max_rel_error,
                    .vacuous = row.vacuous,
                    .sabotage_caught = row.sabotage_caught,
                    .detail = row.detail});
  }
  return rows;
}

std::vector<GradientRow> against_f64(const OpCase& c, const Function& run, DType dtype, Device device) {
  const Results got = run_with_gradients(run, inputs_as(c, dtype), device);
  const Results want = run_with_gradients(run, rounded_inputs(c, dtype), device);
  double largest = 0;
  for (const Tensor& gradient : want.gradients) largest = std::max(largest, largest_of(gradient));
  std::vector<GradientRow> rows;
  for (std::size_t input = 0; input < c.inputs.size(); ++input) {
    if (!takes_gradient(c.inputs[input])) continue;
    const std::size_t i = rows.size();
    const double own = largest_of(want.gradients[i]);
    const bool vacuous = !(own > 1e-9 * largest);
    const double scale = std::max(vacuous ? largest : own, 1e-30);
    rows.push_back(compare(input, got.gradients[i], want.gradients[i], scale, allowed_gradient_error(dtype)));
    rows.back().vacuous = vacuous;
  }
  return rows;
}

}  // namespace

std::vector<GradientRow> gradient_rows(const OpCase& c, const Function& run, DType dtype, Device device) {
  return dtype == DType::f64 ? against_differences(c, run, device) : against_f64(c, run, dtype, device);
}

}  // namespace mixgrad::test
