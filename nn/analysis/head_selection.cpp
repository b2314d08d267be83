#include "nn/analysis/head_selection.h"

#include <algorithm>

#include "core/error.h"
#include "core/text/plural.h"
#include "nn/config/kinds/attention.h"
#include "nn/config/kinds/hsm.h"
#include "nn/config/kinds/mixed_heads.h"

namespace mixgrad {
namespace {

bool contains(const std::vector<std::int64_t>& groups, std::int64_t group) {
  return std::find(groups.begin(), groups.end(), group) != groups.end();
}

}  // namespace

std::int64_t head_count(const Decoder& model, std::size_t layer) {
  const LayerConfig& config = model.config().layers.at(layer);
  if (const auto* attention = config.get_if<AttentionConfig>()) return attention->heads;
  if (const auto* shifts = config.get_if<HsmConfig>()) return shifts->heads;
  if (const auto* mixed = config.get_if<MixedHeadsConfig>()) return mixed->heads;
  return model.mixer(layer).softmax_heads();  // of a registered kind no others are known
}

std::vector<std::int64_t> softmax_head_numbers(const Decoder& model, std::size_t layer) {
  const auto* mixed = model.config().layers.at(layer).get_if<MixedHeadsConfig>();
  std::vector<std::int64_t> numbers;
  for (std::int64_t h = 0; h < head_count(model, layer); ++h) {
    const std::int64_t group = mixed == nullptr ? 0 : h / mixed->heads_per_group();
    const bool other =
        mixed != nullptr && (contains(mixed->recurrent_groups, group) || contains(mixed->shift_groups, group));
    if (!other) numbers.push_back(h);
  }
  if (model.mixer(layer).softmax_heads() == 0) numbers.clear();
  return numbers;
}

void check_selection(const Decoder& model, const HeadSelection& selection) {
  const auto layers = static_cast<std::int64_t>(model.config().layers.size());
  if (selection.layer >= layers) {
    raise<ValueError>("the layer must be from 0 to ", layers - 1, ": the model has ", count_text(layers, "layer"),
                      "; got ", selection.layer, "; choose one of them");
  }
  std::int64_t heads = 0;
  for (std::size_t l = 0; l < model.config().layers.size(); ++l) {
    if (selection.takes_layer(l)) heads = std::max(heads, head_count(model, l));
  }
  if (selection.head >= heads) {
    raise<ValueError>("the head must be from 0 to ", heads - 1, ": ",
                      selection.layer == HeadSelection::kAll ? std::string("no layer has more than ")
                                                             : "layer " + std::to_string(selection.layer) + " has ",
                      count_text(heads, "head"), "; got ", selection.head, "; choose one of them");
  }
}

}  // namespace mixgrad
