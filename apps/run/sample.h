// Streams generated text to stdout: the prompt, then the text of each token as soon as its characters are complete.
#pragma once

#include <cstdint>
#include <vector>

#include "nn/model/decoder.h"
#include "nn/model/generator.h"
#include "nn/tokenizers/tokenizer.h"

namespace mixgrad::app {

// `prompt`: its tokens, at least one. On a terminal what is not printable is escaped (apps/output/terminal.h); files
// and pipes get the bytes. Says on stderr, once, when learned positions ran out.
void stream_sample(const Decoder& model, const Tokenizer& tokenizer, const std::vector<std::int32_t>& prompt,
                   std::int64_t tokens, const SamplingOptions& options, std::uint64_t seed);

}  // namespace mixgrad::app
