// One HTML file of one model on one text (`mixgrad explore`): choosing a token moves everything.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "nn/analysis/exploration.h"
#include "nn/tokenizers/tokenizer.h"

namespace mixgrad::app {

// The numbers of the page. Weights of softmax heads: in `maps` form the lower triangle, row by row, as 16-bit integers
// (weight times 65,535) in base64, as the page reads them; else as numbers.
enum class WeightForm : unsigned char { maps, numbers };
nlohmann::ordered_json exploration_json(const Exploration& exploration, const Tokenizer& tokenizer, WeightForm form);

std::string explore_page(const nlohmann::ordered_json& numbers, const std::string& title, const std::string& made);

}  // namespace mixgrad::app
