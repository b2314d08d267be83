#include "nn/analysis/shift_head_list.h"

#include "nn/config/kinds/hsm.h"
#include "nn/config/kinds/mixed_heads.h"

namespace mixgrad {
namespace {

// Of a parameter whose values are spread evenly over `heads` heads: the mean of those of one head.
std::optional<double> mean_of_head(const Parameter* parameter, std::int64_t head, std::int64_t heads) {
  if (parameter == nullptr) return std::nullopt;
  const std::int64_t count = parameter->shape.numel() / heads;
  double sum = 0;
  for (std::int64_t i = head * count; i < (head + 1) * count; ++i) sum += parameter->value.at(i);
  return sum / static_cast<double>(count);
}

}  // namespace

std::vector<ShiftHead> shift_head_list(const Decoder& model, const HeadSelection& selection) {
  std::vector<ShiftHead> list;
  const ParameterSet& parameters = model.parameters();
  for (std::size_t l = 0; l < model.config().layers.size(); ++l) {
    const std::string prefix = "layers." + std::to_string(l) + ".mixer.";
    // The i-th of `count` heads that share the parameters prefix + name + a and b.
    const auto add = [&](const std::string& variant, const std::string& name, std::int64_t head, std::int64_t shift,
                         std::int64_t i, std::int64_t count) {
      if (!selection.takes(l, head)) return;
      list.push_back({.layer = static_cast<std::int64_t>(l),
                      .head = head,
                      .variant = variant,
                      .shift = shift,
                      .a = mean_of_head(parameters.find(prefix + name + "a"), i, count),
                      .b = mean_of_head(parameters.find(prefix + name + "b"), i, count)});
    };
    const LayerConfig& layer = model.config().layers[l];
    if (const auto* hsm = layer.get_if<HsmConfig>()) {
      for (std::int64_t h = 0; h < hsm->heads; ++h) {
        add(to_string(hsm->variant), "", h, hsm->shifts[static_cast<std::size_t>(h)], h, hsm->heads);
      }
    } else if (const auto* mixed = layer.get_if<MixedHeadsConfig>()) {
      const auto count = static_cast<std::int64_t>(mixed->shifts.size());
      std::int64_t i = 0;
      for (const std::int64_t group : mixed->shift_groups) {
        for (std::int64_t h = 0; h < mixed->heads_per_group(); ++h, ++i) {
          add("mixed", "shift.", group * mixed->heads_per_group() + h, mixed->shifts[static_cast<std::size_t>(i)], i,
              count);
        }
      }
    }
  }
  return list;
}

}  // namespace mixgrad
