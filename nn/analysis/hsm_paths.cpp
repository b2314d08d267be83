#include "nn/analysis/hsm_paths.h"

#include <algorithm>
#include <cmath>
#include <string>

#include "core/error.h"
#include "nn/config/kinds/hsm.h"

namespace mixgrad {
namespace {

using Series = std::vector<double>;  // by lag

// x^d (stay + jump x^s), cut after `lags` terms.
Series times(const Series& series, double stay, double jump, std::int64_t s, std::size_t lags) {
  const std::size_t shift = static_cast<std::size_t>(s);
  Series product(std::min(lags, series.size() + shift), 0.0);
  for (std::size_t d = 0; d < product.size(); ++d) {
    if (d < series.size()) product[d] += stay * series[d];
    if (d >= shift && d - shift < series.size()) product[d] += jump * series[d - shift];
  }
  return product;
}

void add_mean(const Series& series, std::int64_t channels, Series& mean) {
  if (mean.size() < series.size()) mean.resize(series.size(), 0.0);
  for (std::size_t d = 0; d < series.size(); ++d) mean[d] += std::abs(series[d]) / static_cast<double>(channels);
}

struct MixingLayer {
  const HsmConfig* config;
  const Parameter* a;  // null for variants without a and b
  const Parameter* b;
};

// How many heads each of the layers has; where one head is selected they must have the same number.
std::int64_t equal_heads(const std::vector<MixingLayer>& layers, std::int64_t head) {
  const std::int64_t heads = layers.front().config->heads;
  for (const MixingLayer& layer : layers) {
    if (head == HeadSelection::kAll || layer.config->heads == heads) continue;
    raise<ValueError>("the shift-mixing layers must have as many heads each, so that head ", head,
                      " has the same channels in all of them; found ", heads, " and ", layer.config->heads,
                      "; choose one layer");
  }
  return heads;
}

std::int64_t longest_shift(const HsmConfig& layer, std::int64_t head) {
  if (head != HeadSelection::kAll) return layer.shifts[static_cast<std::size_t>(head)];
  return *std::max_element(layer.shifts.begin(), layer.shifts.end());
}

}  // namespace

HsmPaths hsm_paths(const Decoder& model, std::int64_t lags, const HeadSelection& selection) {
  HsmPaths result;
  std::vector<MixingLayer> layers;
  const ParameterSet& parameters = model.parameters();
  const std::vector<LayerConfig>& configs = model.config().layers;
  for (std::size_t l = 0; l < configs.size(); ++l) {
    const auto* config = configs[l].get_if<HsmConfig>();
    if (config == nullptr || !selection.takes_layer(l)) continue;
    const std::string prefix = "layers." + std::to_string(l) + ".mixer.";
    layers.push_back({config, parameters.find(prefix + "a"), parameters.find(prefix + "b")});
    result.layers.push_back(static_cast<std::int64_t>(l));
  }
  if (!layers.empty() && equal_heads(layers, selection.head) <= selection.head) return {};  // none has this head
  const bool weighted = std::all_of(layers.begin(), layers.end(), [](const MixingLayer& l) { return l.a != nullptr; });
  const std::int64_t width = model.config().d_model;
  const bool one_head = selection.head != HeadSelection::kAll && !layers.empty();
  const std::int64_t head_width = one_head ? width / layers.front().config->heads : width;
  const std::int64_t begin = one_head ? selection.head * head_width : 0;
  const std::int64_t end = begin + head_width;
  for (const MixingLayer& layer : layers) result.receptive_field += longest_shift(*layer.config, selection.head);
  for (std::int64_t c = begin; c < end; ++c) {
    Series paths{1.0};
    Series weights{1.0};
    for (const MixingLayer& layer : layers) {
      const std::int64_t s = layer.config->shifts[static_cast<std::size_t>(c * layer.config->heads / width)];
      paths = times(paths, 1, 1, s, static_cast<std::size_t>(lags));
      if (!weighted) continue;
      const auto of_channel = [&](const Parameter* p) { return p->value.at(c * p->shape.numel() / width); };
      weights = times(weights, 1 + of_channel(layer.a), of_channel(layer.b), s, static_cast<std::size_t>(lags));
    }
    add_mean(paths, end - begin, result.paths);
    if (weighted) add_mean(weights, end - begin, result.weights);
  }
  return result;
}

}  // namespace mixgrad
