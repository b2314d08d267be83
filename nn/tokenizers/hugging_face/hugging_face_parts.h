// What a Hugging Face tokenizer.json of the kind BPE says, in the terms of this library. hugging_face_reader.cpp reads
// it, hugging_face_tokenizer.cpp does it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "nn/tokenizers/byte_pairs/bpe_encoder.h"
#include "nn/tokenizers/hugging_face/added_tokens.h"
#include "nn/tokenizers/hugging_face/normalizers.h"
#include "nn/tokenizers/hugging_face/pre_tokenizers.h"
#include "nn/tokenizers/hugging_face/token_decoders.h"
#include "nn/tokenizers/tokenizer.h"

namespace mixgrad {

struct HuggingFaceParts {
  std::vector<std::string> tokens;  // of each id, as it is decoded
  std::vector<AddedToken> added;
  std::vector<Normalizer> normalizers;
  std::vector<PreTokenizer> pre_tokenizers;
  std::vector<DecoderStep> decoders;
  BpeModel model;
  SpecialTokens special;
  std::string json;  // the file
};

}  // namespace mixgrad
