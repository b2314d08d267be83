#include "nn/modules/parameter.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "core/error.h"
#include "core/rng.h"
#include "core/text/suggest.h"

namespace mixgrad {
namespace {

void fill(const Tensor& value, const Init& init, Rng& rng) {
  switch (init.kind) {
    case Init::Kind::constant: value.fill(init.value); return;
    case Init::Kind::normal: rng.fill_normal(value, 0.0, init.value); return;
    case Init::Kind::uniform: rng.fill_uniform(value, -init.value, init.value); return;
    case Init::Kind::log_count:
      for (std::int64_t i = 0; i < value.numel(); ++i)
        value.set(i, std::log(static_cast<double>(i % value.cols() + 1)));
      return;
    case Init::Kind::step_bias:
      for (std::int64_t i = 0; i < value.numel(); ++i) {
        const double step = std::max(1e-4, std::exp(std::log(1e-3) + rng.uniform() * std::log(1e2)));
        value.set(i, step + std::log(-std::expm1(-step)));  // log(e^step - 1)
      }
      return;
  }
}

}  // namespace

Parameter* ParameterSet::add(const std::string& name, const Shape& shape, Init init, bool decay) {
  if (flat_.defined()) raise<ValueError>("parameters: '", name, "' is added after allocate()");
  if (find(name) != nullptr) raise<ValueError>("parameters: the name '", name, "' is taken");
  parameters_.push_back({name, shape, init, decay, true, false, Tensor(), Tensor()});
  return &parameters_.back();
}

void ParameterSet::allocate(DType dtype, Device device) {
  if (!is_float(dtype)) raise<DTypeError>("parameters: f64, f32 or bf16 are required, got ", dtype_name(dtype));
  const FlatLayout layout(shapes());
  flat_ = Tensor::zeros({layout.total}, dtype, device);
  flat_.set_role("parameters");
  master_ = flat_;
  if (dtype == DType::bf16) {
    master_ = Tensor::zeros({layout.total}, DType::f32, device);
    master_.set_role("master parameters");
  }
  for (std::size_t i = 0; i < size(); ++i) {
    parameters_[i].master = layout.view(master_, i);
    parameters_[i].value = parameters_[i].kept_in_f32 ? parameters_[i].master : layout.view(flat_, i);
  }
}

void ParameterSet::refresh() {
  MIXGRAD_ASSERT(!masters_divided(), "the masters of other parameters are with other ranks");
  if (!flat_.shares_memory_with(master_)) flat_.copy_from(master_);
}

// Pieces begin at multiples of kPieceAlignment, as parameters do.
constexpr std::int64_t kPieceAlignment = 16;

void ParameterSet::divide_masters(std::int64_t begin, std::int64_t end) {
  MIXGRAD_ASSERT(dtype() == DType::bf16 && !masters_divided(), "the masters of a bf16 model are divided once");
  MIXGRAD_ASSERT(begin % kPieceAlignment == 0, "a share begins where a block does");
  const FlatLayout layout(shapes());
  std::vector<Shape> kept;
  for (const Parameter& parameter : parameters_) {
    if (parameter.kept_in_f32) kept.push_back(parameter.shape);
  }
  const FlatLayout compact(kept);
  kept_ = Tensor::zeros({compact.total}, DType::f32, device());
  kept_.set_role("parameters in f32");
  std::vector<std::int32_t> pieces;
  std::size_t next = 0;
  for (std::size_t i = 0; i < size(); ++i) {
    kept_offsets_.push_back(next < kept.size() ? compact.offsets[next] : compact.total);
    if (!parameters_[i].kept_in_f32) continue;
    const Tensor value = compact.view(kept_, next++);
    value.copy_from(parameters_[i].master);
    parameters_[i].value = value;
    const std::int64_t at = layout.offsets[i];
    const std::int64_t first = std::max(begin, at);
    const std::int64_t count = std::min(end, at + value.numel()) - first;
    if (count <= 0) continue;
    for (const std::int64_t number :
         {(first - begin) / kPieceAlignment, (kept_offsets_[i] + first - at) / kPieceAlignment, count}) {
      pieces.push_back(static_cast<std::int32_t>(number));
    }
  }
  const auto rows = static_cast<std::int64_t>(pieces.size()) / 3;
  kept_pieces_ = Tensor::from_i32(pieces, {rows, 3}).to(device());
  master_ = master_.slice(begin, end).clone();
  master_.set_role("master parameters");
  master_begin_ = begin;
  show_masters({});
}

std::int64_t ParameterSet::kept_begin(std::int64_t at) const {
  const FlatLayout layout(shapes());
  for (std::size_t i = 0; i < size(); ++i) {
    const std::int64_t end = layout.offsets[i] + parameters_[i].shape.numel();
    if (parameters_[i].kept_in_f32 && at < end) {
      return kept_offsets_[i] + std::max<std::int64_t>(at - layout.offsets[i], 0);
    }
  }
  return kept_.numel();
}

void ParameterSet::show_masters(const Tensor& whole) {
  MIXGRAD_ASSERT(masters_divided(), "otherwise master() is the whole");
  const FlatLayout layout(shapes());
  for (std::size_t i = 0; i < size(); ++i) {
    parameters_[i].master = whole.defined() ? layout.view(whole, i) : Tensor();
  }
}

void ParameterSet::initialize(std::uint64_t seed) {
  for (std::size_t i = 0; i < size(); ++i) {
    const Parameter& parameter = parameters_[i];
    Rng rng(seed, static_cast<std::uint64_t>(i + 1) << 40U);
    const Tensor drawn = Tensor::empty(parameter.shape, master_.dtype());  // on the host, whatever the device
    fill(drawn, parameter.init, rng);
    parameter.master.copy_from(drawn);
  }
  refresh();
}

const Parameter* ParameterSet::find(std::string_view name) const {
  for (const Parameter& parameter : parameters_) {
    if (parameter.name == name) return &parameter;
  }
  return nullptr;
}

Parameter* ParameterSet::find(std::string_view name) {
  return const_cast<Parameter*>(std::as_const(*this).find(name));  // NOLINT(cppcoreguidelines-pro-type-const-cast)
}

const Parameter& ParameterSet::at(std::string_view name) const {
  const Parameter* found = find(name);
  if (found == nullptr) {
    raise<ValueError>("parameters: a name of one of the ", size(), " parameters is required; got ", quote(name), "; ",
                      "names are as in model.safetensors");
  }
  return *found;
}

Parameter& ParameterSet::at(std::string_view name) {
  return const_cast<Parameter&>(std::as_const(*this).at(name));  // NOLINT(cppcoreguidelines-pro-type-const-cast)
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
