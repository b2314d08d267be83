#include "nn/data/document_rows.h"

#include <algorithm>
#include <cstddef>
#include <span>

#include "core/error.h"

namespace mixgrad {
namespace {

constexpr std::int64_t kShortRow = 16;  // pieces up to this length are padded to it at most

std::vector<DocumentPiece> find_pieces(const Tensor& tokens, const Tensor& targets, std::int32_t start) {
  std::vector<DocumentPiece> pieces;
  const std::int64_t steps = tokens.dim(1);
  for (std::int64_t b = 0; b < tokens.dim(0); ++b) {
    const std::int32_t* inputs = tokens.data<std::int32_t>() + b * steps;
    const std::int32_t* wanted = targets.data<std::int32_t>() + b * steps;
    DocumentPiece piece{.row = b};
    for (std::int64_t t = 0; t < steps; ++t) {
      if (t > piece.first && inputs[t] == start) {
        if (piece.length > 0) pieces.push_back(piece);
        piece = {.row = b, .first = t};
      }
      if (wanted[t] >= 0) piece.length = t + 1 - piece.first;
    }
    if (piece.length > 0) pieces.push_back(piece);
  }
  if (pieces.empty()) pieces.push_back({.row = 0, .first = 0, .length = 1});
  return pieces;
}

DocumentRows rows_of(std::span<const DocumentPiece> pieces, const Tensor& tokens, const Tensor& targets) {
  const auto count = static_cast<std::int64_t>(pieces.size());
  const std::int64_t length = pieces.front().length;
  const std::int64_t steps = tokens.dim(1);
  DocumentRows rows{.tokens = Tensor::empty({count, length}, DType::i32),
                    .targets = Tensor::empty({count, length}, DType::i32),
                    .pieces = {pieces.begin(), pieces.end()}};
  const auto copy = [&](const Tensor& from, const Tensor& to, std::int32_t padding) {
    std::int32_t* out = to.data<std::int32_t>();
    for (const DocumentPiece& piece : pieces) {
      const std::int32_t* in = from.data<std::int32_t>() + piece.row * steps + piece.first;
      std::fill(std::copy_n(in, piece.length, out), out + length, padding);
      out += length;
    }
  };
  copy(tokens, rows.tokens, 0);
  copy(targets, rows.targets, -1);
  return rows;
}

}  // namespace

std::vector<DocumentRows> cut_at_documents(const Tensor& tokens, const Tensor& targets, std::int32_t start) {
  MIXGRAD_ASSERT(tokens.shape().rank() == 2 && tokens.shape() == targets.shape() && tokens.is_contiguous() &&
                     targets.is_contiguous(),
                 "two contiguous tensors [B,T]");
  std::vector<DocumentPiece> pieces = find_pieces(tokens, targets, start);
  std::stable_sort(pieces.begin(), pieces.end(),
                   [](const DocumentPiece& a, const DocumentPiece& b) { return a.length > b.length; });
  std::vector<DocumentRows> all;
  for (std::size_t first = 0; first < pieces.size();) {
    const std::int64_t length = pieces[first].length;
    const auto most = static_cast<std::size_t>(tokens.numel() / length);  // rows that take no more than the windows
    std::size_t end = first + 1;
    while (end < pieces.size() && end - first < most && (length <= kShortRow || 4 * pieces[end].length >= 3 * length)) {
      ++end;
    }
    all.push_back(rows_of(std::span(pieces).subspan(first, end - first), tokens, targets));
    first = end;
  }
  return all;
}

}  // namespace mixgrad
