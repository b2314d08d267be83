// The types of tokenizers: how a tokenizer is made from a text, stored and loaded by name. The built-in types stand in
// tokenizers.def; a program that uses the library adds types of its own:
//
//   register_tokenizer_type(
//       {.name = "words", .summary = "one token per word", .make = make_words, .load = load_words});
#pragma once

#include <cstddef>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "nn/tokenizers/tokenizer.h"

namespace mixgrad {

// What a tokenizer is made from.
struct TokenizerInput {
  std::string_view text;        // the training text
  std::string source = "text";  // its name in errors
  std::string argument = {};    // what stands behind the colon of a name such as bpe:4096
  // Called about every MiB of a long text with the number of bytes read so far. It may throw Interrupted.
  std::function<void(std::size_t bytes)> progress = {};

  void read(std::size_t bytes) const {
    if (progress) progress(bytes);
  }
};

struct TokenizerType {
  std::string name;           // the value of --tokenizer and the "type" of tokenizer.json
  std::string summary;        // one line for the help
  std::string argument = {};  // what must stand behind the name and a colon, such as N; "" = nothing may
  // FormatError when no vocabulary can be made from the text, naming its source.
  // Empty for a type that is only read from files.
  std::function<TokenizerPtr(const TokenizerInput& input)> make;
  // Reads what to_json() wrote. FormatError, strict: everything that to_json() would not write is refused.
  std::function<TokenizerPtr(std::string_view json, const std::string& source)> load;
};

// Adds a type for the rest of the process. ValueError: a part is missing (it is named), or the name is taken.
void register_tokenizer_type(TokenizerType type);

// The built-in types in the order of tokenizers.def, then the registered ones. References stay valid.
std::vector<std::string> tokenizer_type_names();
const TokenizerType& tokenizer_type(const std::string& name);  // ValueError: no such type

// The names from which a tokenizer is made of a text, with their arguments: "char", "byte", "bpe:N", ...
std::vector<std::string> tokenizer_names();
// Whether `name`, up to a colon, is one of those.
bool names_tokenizer(std::string_view name);
// The type of "bpe:4096", whose `make` has the argument. ValueError: no such name, an argument too few or too many.
TokenizerType named_tokenizer_type(const std::string& name);

TokenizerPtr make_tokenizer(const std::string& name, const TokenizerInput& input);
// From the content of tokenizer.json: by its "type", or one of Hugging Face (hugging_face_tokenizer.h). FormatError.
TokenizerPtr load_tokenizer(std::string_view json, const std::string& source);

}  // namespace mixgrad
