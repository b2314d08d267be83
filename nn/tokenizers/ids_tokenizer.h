// Token ids as they are: for data that are no text, such as files of tokens, music and sound. Where such ids are shown
// or typed they are decimal numbers, each followed by a space: "60 300 188 ".
//   tokenizer.json: {"type":"ids","vocab_size":389}
#pragma once

#include <cstdint>

#include "nn/tokenizers/tokenizer.h"

namespace mixgrad {

// Ids from 0 to vocab_size - 1, 1 <= vocab_size < 2^31.
TokenizerPtr ids_tokenizer(std::int64_t vocab_size);

// For load_tokenizer. FormatError, strict.
TokenizerPtr load_ids_tokenizer(std::string_view json, const std::string& source);

}  // namespace mixgrad
