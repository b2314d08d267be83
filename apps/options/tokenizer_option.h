// What --tokenizer takes: the name of a tokenizer that is made from a text (char, byte, bpe:N), or a file or folder.
#pragma once

#include <string>

namespace mixgrad::app {

// "char: one token per character of the file; byte: 256 tokens, any file; ..."
std::string tokenizer_help();

// Whether the value is a name. ValueError when it is neither that nor the path of something that exists.
bool tokenizer_is_made(const std::string& given);

}  // namespace mixgrad::app
