// Tokenizers from files, whatever their form.
//
//   const TokenizerPtr tokenizer = open_tokenizer("gpt2/");
//
// A file: a tokenizer.json, of this library or of Hugging Face; or a llama2.c tokenizer.bin.
// A folder: one with tokenizer.json; with vocab.json and merges.txt, or gpt2_vocab.json and gpt2_merges.bpe (the files
// of GPT-2); or a run, or one generation of it.
#pragma once

#include <filesystem>

#include "nn/tokenizers/tokenizer.h"

namespace mixgrad {

// IoError: nothing there, or not readable. FormatError: none of these forms, or wrong within one.
TokenizerPtr open_tokenizer(const std::filesystem::path& path);

}  // namespace mixgrad
