#include "apps/inspection/inspect_shifts.h"

#include <cstdio>
#include <nlohmann/json.hpp>
#include <vector>

#include "apps/output/json_line.h"
#include "apps/output/table.h"
#include "core/text/plural.h"
#include "nn/analysis/hsm_paths.h"
#include "nn/analysis/shift_head_list.h"
#include "nn/config/kinds/hsm.h"

namespace mixgrad::app {
namespace {

constexpr std::int64_t kLags = 4096;  // more are cut off

TableCell coefficient(const std::optional<double>& value) {
  return value ? TableCell(*value) : TableCell(nlohmann::ordered_json());
}

void print_heads(const std::vector<ShiftHead>& heads, bool json) {
  if (!json)
    std::printf(
        "\nshift mixing, head by head: y_t = a u_t + b u_{t-shift}, means of a and b over the channels of the head\n");
  Table table(format_of(json), {{.key = "layer", .number = true},
                                {.key = "head", .number = true},
                                {.key = "variant"},
                                {.key = "shift", .number = true},
                                {.key = "a", .number = true, .format = "%.6f"},
                                {.key = "b", .number = true, .format = "%.6f"}});
  for (const ShiftHead& head : heads) {
    table.add({head.layer, head.head, head.variant, head.shift, coefficient(head.a), coefficient(head.b)});
  }
  table.finish();
}

// The shifts of the selected heads of each layer.
nlohmann::ordered_json shifts_of(const Decoder& model, const HsmPaths& paths, const HeadSelection& selection) {
  nlohmann::ordered_json shifts = nlohmann::ordered_json::array();
  for (const std::int64_t l : paths.layers) {
    const auto& layer = model.config().layers[static_cast<std::size_t>(l)].get<HsmConfig>();
    nlohmann::ordered_json& of_layer = shifts.emplace_back(nlohmann::ordered_json::array());
    for (std::int64_t h = 0; h < layer.heads; ++h) {
      if (selection.takes_head(h)) of_layer.push_back(layer.shifts[static_cast<std::size_t>(h)]);
    }
  }
  return shifts;
}

// Of shift-mixing layers (nn/analysis/hsm_paths.h): one line for each lag that a path reaches.
void print_lags(const Decoder& model, const HeadSelection& selection, bool json) {
  const HsmPaths paths = hsm_paths(model, kLags, selection);
  if (paths.layers.empty()) return;
  if (json) {
    print_json({{"shift_layers", paths.layers},
                {"shifts", shifts_of(model, paths, selection)},
                {"receptive_field", paths.receptive_field}});
  } else {
    std::printf("\nreceptive field of %s: %s\n\n", paths.layers.size() == 1 ? "this layer" : "these layers",
                count_text(paths.receptive_field, "token").c_str());
  }
  Table table(format_of(json), {{.key = "lag", .number = true, .width = 8},
                                {.key = "paths", .number = true, .format = "%.3f", .width = 10},
                                {.key = "weight", .number = true, .format = "%.6f", .width = 12}});
  for (std::size_t lag = 0; lag < paths.paths.size(); ++lag) {
    if (paths.paths[lag] == 0) continue;
    table.add({lag, paths.paths[lag],
               paths.weights.empty() ? TableCell(nlohmann::ordered_json()) : TableCell(paths.weights[lag])});
  }
  table.finish();
  if (json) return;
  std::printf(
      "%s, without norms and MLPs; lags that no path reaches are left out; weights where all layers have a and b\n",
      selection.head == HeadSelection::kAll ? "means over the channels" : "means over the channels of the head");
}

}  // namespace

void print_shifts(const Decoder& model, const HeadSelection& selection, bool json) {
  const std::vector<ShiftHead> heads = shift_head_list(model, selection);
  if (heads.empty()) return;
  print_heads(heads, json);
  print_lags(model, selection, json);
}

}  // namespace mixgrad::app
