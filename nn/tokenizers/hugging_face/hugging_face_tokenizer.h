// Tokenizers of Hugging Face: a tokenizer.json whose model is of the kind BPE, and the two files of GPT-2.
//
//   const TokenizerPtr tokenizer = load_tokenizer(json, "tokenizer.json");   // tokenizer_types.h
//
// The ids are those of the Python package `tokenizers`, without special tokens added before or behind. What it knows:
//   normalizers      none, Sequence, Prepend, Replace (of a text), NFC
//   pre-tokenizers   none, Sequence, ByteLevel, Split (GPT-2's, Llama-3's, Qwen2's pattern), Metaspace
//   model            BPE with or without byte_fallback, fuse_unk, ignore_merges
//   decoders         none, Sequence, Replace, ByteFallback, Fuse, Strip, ByteLevel, Metaspace
//   added tokens     with lstrip, rstrip, single_word, normalized
//   post-processors  ByteLevel, TemplateProcessing, RobertaProcessing, BertProcessing, Sequence: they only add special
//                    tokens, which encode() leaves out
// Anything else is refused by its name. Differences: a character outside the vocabulary without an unknown token is an
// error, where `tokenizers` drops it; bytes that are not UTF-8, which `tokenizers` does not take, are encoded as bytes
// where the vocabulary has them, and decoding gives them back.
// Stored as the file itself, so that a checkpoint's tokenizer.json can be read by `tokenizers`.
#pragma once

#include <string>
#include <string_view>

#include "nn/tokenizers/tokenizer.h"

namespace mixgrad {

TokenizerPtr hugging_face_tokenizer(std::string_view json, const std::string& source);  // FormatError

// The tokenizer.json that says what GPT-2's two files say: vocab.json and merges.txt. The name of its token
// <|endoftext|> in a text is text, as it is for `tokenizers` with these files. FormatError: a line of the merges that
// is no pair; the rest is seen when the result is read.
std::string gpt2_tokenizer_json(std::string_view vocab, std::string_view merges, const std::string& vocab_source,
                                const std::string& merges_source);

}  // namespace mixgrad
