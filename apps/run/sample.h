// Streams generated text to stdout: the prompt, then the text of each token as soon as its characters are complete.
#pragma once

#include <cstdint>
#include <string>

#include "nn/model/decoder.h"
#include "nn/model/generator.h"
#include "nn/tokenizers/tokenizer.h"

namespace mixgrad::app {

// ValueError for a prompt with characters outside the vocabulary. Says on stderr, once, when learned positions ran out.
void stream_sample(const Decoder& model, const Tokenizer& tokenizer, const std::string& prompt, std::int64_t tokens,
                   const SamplingOptions& options, std::uint64_t seed);

}  // namespace mixgrad::app
