// One HTML file of one model on one text (`mixgrad explore`): choosing a token moves everything.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "nn/analysis/exploration.h"
#include "nn/tokenizers/tokenizer.h"

namespace mixgrad::app {

// The text of a token; bytes that are no characters as \xNN.
std::string token_text(const Tokenizer& tokenizer, std::int32_t id);

// The numbers of the page. Maps (weights of heads, what is left in a state): in `maps` form the lower triangle, row by
// row, by four decimal digits of each value in an integer of 24 bits, little-endian, in base64. Beyond 256 tokens 16
// bits, for which a value below 1e-6 is 0, and `tokens_per_column` neighbouring tokens share a column: it has the sum
// of their weights, the mean of what is left. In `numbers` form each is a list of T T numbers, whose first four digits
// are those of the page.
enum class WeightForm : unsigned char { maps, numbers };
nlohmann::ordered_json exploration_json(const Exploration& exploration, const Tokenizer& tokenizer, WeightForm form);

std::string explore_page(const nlohmann::ordered_json& numbers, const std::string& title, const std::string& made);

}  // namespace mixgrad::app
