// The built-in types of tokenizers, declared from their list: a type that is not listed does not compile, and one whose
// file is missing does not link.
#pragma once

#include "nn/tokenizers/tokenizer_types.h"

namespace mixgrad::built_in {

#define TOKENIZER(name) TokenizerType name##_tokenizer_type();
#include "nn/tokenizers/tokenizers.def"
#undef TOKENIZER

}  // namespace mixgrad::built_in
