#include "ops/cases/cases.h"

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "core/rng.h"
#include "ops/operators.h"

namespace mixgrad::test {
namespace {

std::vector<OperatorCases>& list() {
  static std::vector<OperatorCases> all{
#define OP(name, folder) {&name##_spec, name##_cases, name##_bench},
#include "ops/op_list.def"
#undef OP
  };
  return all;
}

// The roles of `inputs`, for inputs that are the operator's one by one.
std::vector<InputRole> roles_of(const OpSpec& spec, std::size_t inputs, const std::string& note) {
  if (static_cast<int>(inputs) != spec.inputs) {
    raise<ValueError>("cases of ", spec.name, ": case \"", note, "\" must have the ", spec.inputs,
                      " inputs of the operator, an undefined tensor for one that is not given, or say the roles of "
                      "its own; got ",
                      inputs, " inputs and no roles");
  }
  std::vector<InputRole> roles;
  for (int i = 0; i < spec.inputs; ++i) roles.push_back(spec.roles[i]);
  return roles;
}

void complete(const OpSpec& spec, OpCase& c) {
  const auto refuse = [&](const auto&... parts) {
    raise<ValueError>("cases of ", spec.name, ": case \"", c.note, "\" ", parts...);
  };
  if (!c.run) refuse("needs .run, the call of the operator");
  if (!c.oracle) refuse("needs .oracle, the same from the formula");
  c.one_by_one = c.roles.empty();
  if (c.one_by_one) c.roles = roles_of(spec, c.inputs.size(), c.note);
  if (c.roles.size() != c.inputs.size()) {
    refuse("must say the role of each of its ", c.inputs.size(), " inputs, got ", c.roles.size());
  }
}

// Cases with one less than each block, as many and one more.
void add_crossing_cases(const OpSpec& spec, OpCases& all) {
  std::vector<std::pair<std::string, std::int64_t>> made;
  for (const BlockSize& block : all.block_sizes) {
    if (!all.with_size) {
      raise<ValueError>("cases of ", spec.name, ": .with_size is required, since its kernels have blocks of ",
                        block.size, " ", block.axis);
    }
    for (const std::int64_t size : {block.size - 1, block.size, block.size + 1}) {
      const std::pair<std::string, std::int64_t> key{block.axis, size};
      if (size < 1 || std::find(made.begin(), made.end(), key) != made.end()) continue;
      made.push_back(key);
      all.cases.push_back(all.with_size(block.axis, size));
      all.cases.back().note = std::to_string(size) + " " + block.axis + ", around a block of a kernel";
    }
  }
}

}  // namespace

OpCases OperatorCases::make() const {
  if (spec == nullptr) raise<ValueError>("cases of an operator: its spec is required, got none");
  require_complete(*spec);
  if (cases == nullptr)
    raise<ValueError>("cases of ", spec->name, ": a function that makes them is required, got none");
  OpCases all = cases();
  if (all.cases.empty()) raise<ValueError>("cases of ", spec->name, ": .cases is required, got none");
  if (all.errors.empty()) raise<ValueError>("cases of ", spec->name, ": .errors is required, got none");
  if (all.cached.empty() != (spec->cached == nullptr)) {
    if (all.cached.empty()) {
      raise<ValueError>("cases of ", spec->name, ": .cached is required, since the spec names the cached form ",
                        spec->cached);
    }
    raise<ValueError>("cases of ", spec->name,
                      ": .cached has cases, but the spec names no cached form; set .cached there");
  }
  add_crossing_cases(*spec, all);
  for (OpCase& c : all.cases) complete(*spec, c);
  for (CachedCase& c : all.cached) {
    if (!c.inputs || !c.whole || !c.start || c.sequences == IndexSet()) {
      raise<ValueError>("cases of ", spec->name, ": cached case \"", c.note,
                        "\" needs .inputs, .sequences, .whole and .start");
    }
    if (c.roles.empty()) c.roles = roles_of(*spec, c.inputs(1).size(), c.note);
  }
  return all;
}

std::span<const OperatorCases> all_cases() { return list(); }

OpCases cases_of(const OpSpec& spec) {
  for (const OperatorCases& entry : list()) {
    if (entry.spec == &spec) return entry.make();
  }
  raise<ValueError>("cases_of: ", spec.name, " has no cases; register_operator({&spec, cases}) adds them");
}

void register_operator(const OperatorCases& entry) {
  static_cast<void>(entry.make());  // refuses what lacks a part
  mixgrad::register_operator(*entry.spec);
  for (const OperatorCases& known : list()) {
    if (known.spec == entry.spec) return;
  }
  list().push_back(entry);
}

void raise_unknown_axis(std::string_view axis) {
  raise<ValueError>("cases: with_size makes no case for the axis ", axis, ", which a kernel's block has; add one");
}

Tensor random_tensor(const Shape& shape, std::uint64_t seed) {
  Tensor tensor = Tensor::empty(shape, DType::f64);
  Rng rng(seed);
  rng.fill_normal(tensor, 0, 1);
  return tensor;
}

Tensor random_away_from_zero(const Shape& shape, std::uint64_t seed) {
  Tensor tensor = random_tensor(shape, seed);
  for (std::int64_t i = 0; i < tensor.numel(); ++i) {
    const double x = tensor.at(i);
    tensor.set(i, x + std::copysign(0.05, x));
  }
  return tensor;
}

Tensor random_tokens(const Shape& shape, std::int32_t vocabulary, std::uint64_t seed) {
  Tensor tokens = Tensor::empty(shape, DType::i32);
  Rng rng(seed);
  for (std::int64_t i = 0; i < tokens.numel(); ++i) {
    tokens.set(i, static_cast<double>(rng.below(static_cast<std::uint64_t>(vocabulary))));
  }
  return tokens;
}

}  // namespace mixgrad::test
