#include "nn/parameter.h"

#include "core/error.h"
#include "core/rng.h"

namespace mixgrad {

Parameter* ParameterSet::add(const std::string& name, const Shape& shape, Init init, bool decay) {
  if (flat_.defined()) raise<ValueError>("parameters: '", name, "' is added after allocate()");
  if (find(name) != nullptr) raise<ValueError>("parameters: the name '", name, "' is taken");
  parameters_.push_back({name, shape, init, decay, true, Tensor()});
  return &parameters_.back();
}

void ParameterSet::allocate(DType dtype) {
  if (dtype != DType::f64 && dtype != DType::f32) {
    raise<DTypeError>("parameters: f64 or f32 are required, got ", dtype_name(dtype));
  }
  const FlatLayout layout(shapes());
  flat_ = Tensor::zeros({layout.total}, dtype);
  for (std::size_t i = 0; i < size(); ++i) parameters_[i].value = layout.view(flat_, i);
}

void ParameterSet::initialize(std::uint64_t seed) {
  for (std::size_t i = 0; i < size(); ++i) {
    const Parameter& parameter = parameters_[i];
    if (parameter.init.kind == Init::Kind::constant) {
      parameter.value.fill(parameter.init.value);
    } else {
      Rng rng(seed, static_cast<std::uint64_t>(i + 1) << 40U);
      rng.fill_normal(parameter.value, 0.0, parameter.init.value);
    }
  }
}

Parameter* ParameterSet::find(const std::string& name) {
  for (Parameter& parameter : parameters_) {
    if (parameter.name == name) return &parameter;
  }
  return nullptr;
}

std::int64_t ParameterSet::count() const {
  std::int64_t total = 0;
  for (const Parameter& parameter : parameters_) total += parameter.shape.numel();
  return total;
}

std::vector<Shape> ParameterSet::shapes() const {
  std::vector<Shape> all;
  for (const Parameter& parameter : parameters_) all.push_back(parameter.shape);
  return all;
}

void ParameterSet::watch(Tape& tape) {
  for (std::size_t i = 0; i < size(); ++i) {
    if (parameters_[i].trainable) tape.watch(parameters_[i].value, i);
  }
}

}  // namespace mixgrad
