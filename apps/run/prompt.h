// The text that generation begins with: --prompt, --prompt-file and --escapes.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "apps/options/option_set.h"
#include "nn/tokenizers/tokenizer.h"

namespace mixgrad::app {

// What a model begins with when nothing is given: a line end where the vocabulary has one, else its first token.
std::vector<std::int32_t> default_start(const Tokenizer& tokenizer);

// The tokens of a text that was typed. ValueError, beginning with `what`, for a text that the vocabulary cannot
// express.
std::vector<std::int32_t> encode_typed(const Tokenizer& tokenizer, std::string_view text, const std::string& what);

// With \n, \t, \\ and \xNN replaced by what they stand for. ValueError, beginning with `what`, for another backslash.
std::string without_escapes(std::string_view text, const std::string& what);

// The whole of a text file, or of stdin for "-", without a byte order mark. IoError when it cannot be read.
std::string read_typed_file(const std::string& path, const std::string& what);

struct PromptOptions {
  std::string text, file;
  bool escapes = false;

  void declare(OptionSet& options);
  // ValueError for an empty text, or one that the vocabulary cannot express; IoError for a file that cannot be read.
  std::vector<std::int32_t> tokens(const Tokenizer& tokenizer) const;
};

}  // namespace mixgrad::app
