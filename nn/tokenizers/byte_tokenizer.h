// byte: 256 tokens, the id of a byte is its value. Encodes any file. Stored as {"type":"byte"}.
#pragma once

#include "nn/tokenizers/tokenizer.h"

namespace mixgrad {

TokenizerPtr byte_tokenizer();

}  // namespace mixgrad
