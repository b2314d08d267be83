#include "nn/analysis/hsm_paths.h"

#include <algorithm>
#include <cmath>
#include <string>

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

}  // namespace

HsmPaths hsm_paths(const Decoder& model, std::int64_t lags) {
  HsmPaths result;
  std::vector<MixingLayer> layers;
  const ParameterSet& parameters = model.parameters();
  const std::vector<LayerConfig>& configs = model.config().layers;
  for (std::size_t l = 0; l < configs.size(); ++l) {
    const auto* config = configs[l].get_if<HsmConfig>();
    if (config == nullptr) continue;
    const std::string prefix = "layers." + std::to_string(l) + ".mixer.";
    layers.push_back({config, parameters.find(prefix + "a"), parameters.find(prefix + "b")});
    result.layers.push_back(static_cast<std::int64_t>(l));
    result.receptive_field += *std::max_element(config->shifts.begin(), config->shifts.end());
  }
  const bool weighted = std::all_of(layers.begin(), layers.end(), [](const MixingLayer& l) { return l.a != nullptr; });
  const std::int64_t width = model.config().d_model;
  for (std::int64_t c = 0; c < width; ++c) {
    Series paths{1.0};
    Series weights{1.0};
    for (const MixingLayer& layer : layers) {
      const std::int64_t s = layer.config->shifts[static_cast<std::size_t>(c * layer.config->heads / width)];
      paths = times(paths, 1, 1, s, static_cast<std::size_t>(lags));
      if (!weighted) continue;
      const auto of_channel = [&](const Parameter* p) { return p->value.at(c * p->shape.numel() / width); };
      weights = times(weights, 1 + of_channel(layer.a), of_channel(layer.b), s, static_cast<std::size_t>(lags));
    }
    add_mean(paths, width, result.paths);
    if (weighted) add_mean(weights, width, result.weights);
  }
  return result;
}

}  // namespace mixgrad
