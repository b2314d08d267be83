#include "ops/operators.h"

#include <algorithm>
#include <vector>

namespace mixgrad {
namespace {

std::vector<const OpSpec*>& list() {
  static std::vector<const OpSpec*> specs{
#define OP(name, folder) &name##_spec,
#include "ops/op_list.def"
#undef OP
  };
  return specs;
}

}  // namespace

std::span<const OpSpec* const> operators() { return list(); }

const OpSpec* find_operator(std::string_view name) {
  const auto found = std::find_if(list().begin(), list().end(), [&](const OpSpec* spec) { return spec->name == name; });
  return found == list().end() ? nullptr : *found;
}

void register_operator(const OpSpec& spec) {
  require_complete(spec);
  const OpSpec* known = find_operator(spec.name);
  if (known == &spec) return;
  if (known != nullptr) {
    raise<ValueError>("register_operator: the name ", spec.name, " is taken by another operator; choose another");
  }
  list().push_back(&spec);
}

}  // namespace mixgrad
