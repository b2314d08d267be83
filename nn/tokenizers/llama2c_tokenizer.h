// The tokenizer.bin of llama2.c, made from a SentencePiece model: pieces with scores.
//   int32 the bytes of the longest piece; then for each piece: float32 score, int32 bytes, the bytes (little endian)
// Pieces 0, 1, 2 are unknown, start and end; 3 to 258 are the bytes <0x00> to <0xFF>.
//
// A text is encoded as llama2.c does it: a space before it; each character its piece, or the pieces of its bytes; then
// the two neighbours merge again and again whose piece has the highest score, of equal ones the leftmost. Two
// differences, both so that decode(encode(x)) = x for any bytes: a zero byte does not end the text, and no merge makes
// one of the first 259 pieces. Decoding leaves out the space at the start. Stored as
// {"type":"llama2c","pieces":[["<unk>",0.0],...]}; bytes that are no UTF-8 as json_text (strict_json.h).
#pragma once

#include <string>
#include <string_view>

#include "nn/tokenizers/tokenizer.h"

namespace mixgrad {

// Whether a file may be one: the length of its longest piece and of its first piece are possible.
bool begins_llama2c(std::string_view content);
// FormatError: a piece that the file cuts off, a length below 1 or above the longest, a score that is not finite, a
// piece that is not one of those above, or that occurs twice among the others; no piece for a space.
TokenizerPtr read_llama2c(std::string_view content, const std::string& source);

}  // namespace mixgrad
