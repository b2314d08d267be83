// Layers of config.json, whatever their kind.
#pragma once

#include "nn/config/layer_config.h"
#include "nn/files/strict_json.h"

namespace mixgrad {

// {"mixer": NAME, ...}: FormatError for an unknown kind, unknown and missing keys, wrong types and values.
LayerConfig read_layer(const nlohmann::json& layer, const JsonPlace& place);

nlohmann::ordered_json layer_json(const LayerConfig& layer);

// A string that must be one of `names`: its index. FormatError with the nearest right one.
std::size_t json_name(const nlohmann::json& value, const JsonPlace& place, const std::vector<std::string>& names);

// An array of integers in a range.
std::vector<std::int64_t> json_integers(const nlohmann::json& value, const JsonPlace& place, std::int64_t low,
                                        std::int64_t high);

}  // namespace mixgrad
