// Streams generated text to stdout: the prompt, then the text of each token as soon as its characters are complete.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "apps/generation/continuation.h"
#include "apps/generation/prompt.h"
#include "nn/model/decoder.h"
#include "nn/model/generator.h"
#include "nn/tokenizers/tokenizer.h"

namespace mixgrad::app {

// Text on stdout, at once. On a terminal what is not printable is escaped (apps/output/terminal.h); files and pipes get
// the bytes.
void put_text(const std::string& text);

// What is said, once, when learned positions ran out.
void say_restarted(const Decoder& model);

// `continuation`: of a prompt of at least one token. Writes a line end behind it. Interrupted (core/system/interrupt.h)
// between two tokens.
void stream_sample(const Decoder& model, const Tokenizer& tokenizer, Continuation& continuation,
                   const SamplingOptions& options, std::uint64_t seed);

// The same without a stop text.
void stream_sample(const Decoder& model, const Tokenizer& tokenizer, const Prompt& prompt, std::int64_t tokens,
                   const SamplingOptions& options, std::uint64_t seed);

}  // namespace mixgrad::app
