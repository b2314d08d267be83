// char: one token per Unicode code point of the training text, in ascending order; UTF-8 only.
// Stored as {"type":"char","vocab":["\n"," ","a",...]}, the id of a character being its index.
#pragma once

#include <string>
#include <string_view>

#include "nn/tokenizers/tokenizer.h"

namespace mixgrad {

// The characters of `text`; `source` names it in errors. FormatError: empty, or not UTF-8 (with the byte offset).
TokenizerPtr char_tokenizer(std::string_view text, const std::string& source = "text");

}  // namespace mixgrad
