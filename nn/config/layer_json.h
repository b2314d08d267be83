// Layers of config.json, whatever their kind.
#pragma once

#include <optional>

#include "nn/config/layer_config.h"
#include "nn/files/strict_json.h"

namespace mixgrad {

// {"mixer": NAME, ...}: FormatError for an unknown kind, unknown and missing keys, wrong types and values.
// `model_bias`: the model's `bias`, which a layer's own may say again.
LayerConfig read_layer(const nlohmann::json& layer, const JsonPlace& place, bool model_bias);

// Without a model, a bias of the layer's own is written whatever it says.
nlohmann::ordered_json layer_json(const LayerConfig& layer, std::optional<bool> model_bias = std::nullopt);

// A string that must be one of `names`: its index. FormatError with the nearest right one.
std::size_t json_name(const nlohmann::json& value, const JsonPlace& place, const std::vector<std::string>& names);

// An array of integers in a range.
std::vector<std::int64_t> json_integers(const nlohmann::json& value, const JsonPlace& place, std::int64_t low,
                                        std::int64_t high);

}  // namespace mixgrad
