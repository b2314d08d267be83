// `generate --interactive`: each line that is typed is a text, which the model continues.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "apps/generation/stop_matcher.h"
#include "nn/model/decoder.h"
#include "nn/model/sampling.h"

namespace mixgrad::app {

struct Interaction {
  const Decoder& model;
  const Tokenizer& tokenizer;
  const StopTexts& stops;
  std::int64_t tokens;  // of an answer, at most
  SamplingOptions sampling;
  std::uint64_t seed;                                        // of the first answer; the others have those that follow
  std::function<std::string(const std::string&)> unescaped;  // what a typed line stands for
};

// Until Ctrl-D or the end of stdin. Ctrl-C stops an answer. A line that the vocabulary cannot express is said on
// stderr, and the next one is read; an empty line is left out.
void converse(const Interaction& interaction);

}  // namespace mixgrad::app
