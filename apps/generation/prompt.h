// The texts that generation begins with: --prompt, --prompt-file, --escapes and --start-token.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "apps/options/option_set.h"
#include "nn/tokenizers/tokenizer.h"

namespace mixgrad::app {

// The tokens of a text that was typed. ValueError, beginning with `what`, for a text that the vocabulary cannot
// express.
std::vector<std::int32_t> encode_typed(const Tokenizer& tokenizer, std::string_view text, const std::string& what);

// With \n, \t, \\ and \xNN replaced by what they stand for. ValueError, beginning with `what`, for another backslash.
std::string without_escapes(std::string_view text, const std::string& what);

// The whole of a text file, or of stdin for "-", without a byte order mark. IoError when it cannot be read.
std::string read_typed_file(const std::string& path, const std::string& what);

// The texts of a file of JSON lines: each line a text, or an object with the text "prompt". FormatError naming the
// line, also when there is none; IoError.
std::vector<std::string> json_line_prompts(const std::string& file);

struct Prompt {
  std::string text;
  std::vector<std::int32_t> tokens;  // at least one
  std::size_t hidden = 0;            // of them, in front, are a start token that is not shown and not in the text
};

// What a model begins with when nothing is given: the tokenizer's start token; where it has none the one that ends a
// text, behind which another text begins (both hidden); else a line end where the vocabulary has one, else its first
// token.
Prompt default_prompt(const Tokenizer& tokenizer);

struct PromptOptions {
  std::vector<std::string> texts, files;
  bool escapes = false, start_token = false;

  // `useless`, if given, says why all of them would have no effect; `also_escaped` whether another option has texts in
  // which --escapes means something.
  void declare(OptionSet& options, const std::function<std::string()>& useless = {},
               const std::function<bool()>& also_escaped = {});
  // Those of --prompt, or those of the files: the whole of a text file, each line of one of JSON lines (a text, or an
  // object with the text "prompt"); "-" is stdin in both. Without any the default prompt. ValueError for an empty text,
  // one that the vocabulary cannot express, or a start token that the tokenizer lacks; IoError for a file that cannot
  // be read; FormatError for JSON that is none.
  std::vector<Prompt> prompts(const Tokenizer& tokenizer) const;
  // A text as --escapes has it.
  std::string unescaped(const std::string& typed, const std::string& what) const {
    return escapes ? without_escapes(typed, what) : typed;
  }
};

}  // namespace mixgrad::app
