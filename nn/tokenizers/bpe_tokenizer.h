// Byte-pair encoding that is learned from the training text ("bpe:4096"): 256 bytes, then the most frequent pairs, up
// to the number of tokens that is asked for. Any bytes can be encoded, and decoding gives them back. Words are those of
// GPT-2's pattern (split_pattern.h).
// Stored as {"type":"bpe","pattern":"gpt2","merges":[[104,101],[256,32],...]}: the ids 0 to 255 are the bytes, and
// 256 + i is what the pair merges[i] becomes.
#pragma once

#include <string>
#include <vector>

#include "nn/tokenizers/byte_pairs/bpe_training.h"
#include "nn/tokenizers/byte_pairs/split_pattern.h"
#include "nn/tokenizers/tokenizer.h"

namespace mixgrad {

inline constexpr std::int64_t kMostBpeTokens = std::int64_t{1} << 20U;

// FormatError, naming `source`: a pair of ids that are not there yet, a pair or the bytes of a token twice, a token of
// more than kLongestBpeToken bytes.
TokenizerPtr bpe_tokenizer(SplitPattern pattern, const std::vector<BpePair>& merges,
                           const std::string& source = "merges");

}  // namespace mixgrad
