#include "apps/inspect_shifts.h"

#include <cstdio>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "nn/hsm_paths.h"

namespace mixgrad::app {

void inspect_shifts(const Decoder& model, bool json) {
  constexpr std::int64_t kLags = 4096;  // more are cut off
  const HsmPaths report = hsm_paths(model, kLags);
  if (report.layers.empty()) {
    raise<ValueError>("inspect shifts: the model must have a shift-mixing layer; it has none; choose another --mixer");
  }
  if (!json) {
    std::printf("%5s  %-12s shifts of its heads\n", "layer", "variant");
    for (const std::int64_t l : report.layers) {
      const auto& layer = std::get<HsmConfig>(model.config().layers[static_cast<std::size_t>(l)]);
      std::printf("%5lld  %-12s", static_cast<long long>(l), to_string(layer.variant).c_str());
      for (const std::int64_t shift : layer.shifts) std::printf(" %lld", static_cast<long long>(shift));
      std::printf("\n");
    }
    std::printf("receptive field of these layers: %lld tokens\n\n%8s %10s %12s\n",
                static_cast<long long>(report.receptive_field), "lag", "paths", "weight");
  }
  for (std::size_t lag = 0; lag < report.paths.size(); ++lag) {
    const bool weighted = !report.weights.empty();
    if (json) {
      nlohmann::ordered_json row;
      row["lag"] = lag;
      row["paths"] = report.paths[lag];
      row["weight"] = weighted ? nlohmann::ordered_json(report.weights[lag]) : nlohmann::ordered_json();
      std::printf("%s\n", row.dump().c_str());
    } else if (weighted) {
      std::printf("%8zu %10.3f %12.6f\n", lag, report.paths[lag], report.weights[lag]);
    } else {
      std::printf("%8zu %10.3f %12s\n", lag, report.paths[lag], "-");
    }
  }
  if (!json) std::printf("means over the channels, without norms and MLPs; weights where all layers have a and b\n");
}

}  // namespace mixgrad::app
