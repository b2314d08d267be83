// Our tokenizers in the form of other programs.
#pragma once

#include <string>

#include "nn/tokenizers/tokenizer.h"

namespace mixgrad {

struct ExpressedTokenizer {
  std::string content;      // of the file; empty when the tokenizer cannot be expressed
  std::string reason = {};  // why it cannot, or in what the file differs; empty when in nothing
};

// A tokenizer.json of Hugging Face with the same ids for every text of the vocabulary: one that came from there is the
// file itself; char, byte, bpe and llama2c are written as BPE.
ExpressedTokenizer hugging_face_form(const Tokenizer& tokenizer);
// The tokenizer_config.json beside it.
std::string tokenizer_config(const Tokenizer& tokenizer, std::int64_t context);

// The tokenizer.bin of llama2.c; of tokenizers of that type alone.
ExpressedTokenizer llama2c_form(const Tokenizer& tokenizer);

}  // namespace mixgrad
