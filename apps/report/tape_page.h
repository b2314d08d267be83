// One HTML file of one training step (`mixgrad explore --tape`): a list of its operators.
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "nn/analysis/step_walk.h"
#include "nn/tokenizers/tokenizer.h"

namespace mixgrad::app {

// The numbers of the page; `check`: the gradient check of the same step, if it was asked for.
nlohmann::ordered_json step_json(const StepWalk& walk, const std::vector<std::int32_t>& tokens,
                                 const Tokenizer& tokenizer, const std::optional<GradcheckReport>& check);

std::string tape_page(const nlohmann::ordered_json& numbers, const std::string& title, const std::string& made);

}  // namespace mixgrad::app
