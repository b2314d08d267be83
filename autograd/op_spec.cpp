#include "autograd/op_spec.h"

#include <string>

namespace mixgrad {

void require_complete(const OpSpec& spec) {
  const auto given = [](const char* text) { return text != nullptr && text[0] != '\0'; };
  if (!given(spec.name)) raise<ValueError>("operator spec: .name is required, got none");
  const auto refuse = [&](const auto&... parts) { raise<ValueError>("operator spec of ", spec.name, ": ", parts...); };
  if (!given(spec.formula)) refuse(".formula is required, got none");
  if (!given(spec.gradient)) refuse(".gradient is required, got none; say \"none\" if it has no gradient");
  if (!given(spec.saves)) refuse(".saves is required, got none; say \"nothing\" if it saves nothing");
  if (spec.inputs < 1 || spec.inputs > kMaxOpInputs) {
    refuse(".inputs must be from 1 to ", kMaxOpInputs, ", got ", spec.inputs);
  }
  if (spec.outputs < 1 || spec.outputs > kMaxOpOutputs) {
    refuse(".outputs must be from 1 to ", kMaxOpOutputs, ", got ", spec.outputs);
  }
  if (spec.roles.size() != spec.inputs) {
    refuse(".roles must name the role of each of the ", spec.inputs, " inputs, got ", spec.roles.size());
  }
  if (spec.differentiable.end() > spec.inputs) {
    refuse(".differentiable must name inputs from 0 to ", spec.inputs - 1, ", got ", spec.differentiable.end() - 1);
  }
  for (int i = 0; i < spec.inputs; ++i) {
    if (spec.differentiable.contains(i) && spec.roles[i] == InputRole::index) {
      refuse(".differentiable names input ", i, ", whose role is index; an index has no gradient");
    }
  }
  if (spec.differentiable.size() > 0 && spec.backward == nullptr) {
    refuse(".backward is required for the ", spec.differentiable.size(), " differentiable inputs, got none");
  }
}

}  // namespace mixgrad
