// --reset-state: the documents of packed windows as rows of their own, so that nothing of one reaches the next.
//
//   for (const DocumentRows& rows : cut_at_documents(tokens, targets, start)) model.loss(rows.tokens, rows.targets);
//
// A document begins where the input is the token `start`, which stands behind each document and so before the next.
// Each row begins at position 0 with empty states: attention, shift mixing, convolution and scan of every kind of mixer
// see its document alone, since the rows of a batch are independent, and the padding behind a row is in nobody's past.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "core/tensor.h"

namespace mixgrad {

// Tokens [first, first + length) of a row of the windows.
struct DocumentPiece {
  std::int64_t row = 0;
  std::int64_t first = 0;
  std::int64_t length = 0;
  friend bool operator==(const DocumentPiece&, const DocumentPiece&) = default;
};

// Pieces of similar length side by side: row i holds piece i, then token 0 with target -1.
struct DocumentRows {
  Tensor tokens, targets;  // [N,L] i32, N L <= B T
  std::vector<DocumentPiece> pieces;
};

// Keeps its memory from batch to batch, so that cutting allocates nothing but the tensors, whose sizes vary; the pool
// has those once such a size has occurred.
class DocumentCutter {
 public:
  // Of windows tokens, targets [B,T] i32 on the host. Every target that is not -1 is in exactly one piece; what follows
  // the last of them in a piece is left out, and so are pieces without any. Windows without any target give one piece.
  // The longest pieces come first, and a row is at most a quarter padding, unless it is shorter than 16 tokens.
  // What is returned lives until the next cut.
  std::span<const DocumentRows> cut(const Tensor& tokens, const Tensor& targets, std::int32_t start);

 private:
  void find_pieces(const Tensor& tokens, const Tensor& targets, std::int32_t start);

  std::vector<DocumentPiece> pieces_;
  std::vector<DocumentRows> rows_;  // those behind the last cut are kept for their memory
};

// The same, of one batch.
std::vector<DocumentRows> cut_at_documents(const Tensor& tokens, const Tensor& targets, std::int32_t start);

}  // namespace mixgrad
