// The README.md of an exported folder.
#pragma once

#include <string>

#include "nn/exchange/format.h"

namespace mixgrad {

// `has_tokenizer`: a tokenizer.json stands beside it.
std::string model_card(const ModelToExport& model, const std::string& architecture, bool has_tokenizer);

}  // namespace mixgrad
