#include "nn/data/document_rows.h"

#include <algorithm>
#include <cstddef>
#include <span>
#include <tuple>

#include "core/error.h"

namespace mixgrad {
namespace {

constexpr std::int64_t kShortRow = 16;  // pieces up to this length are padded to it at most

void fill_rows(std::span<const DocumentPiece> pieces, const Tensor& tokens, const Tensor& targets, DocumentRows& rows) {
  const auto count = static_cast<std::int64_t>(pieces.size());
  const std::int64_t length = pieces.front().length;
  const std::int64_t steps = tokens.dim(1);
  rows.tokens = Tensor::empty({count, length}, DType::i32);
  rows.targets = Tensor::empty({count, length}, DType::i32);
  rows.pieces.assign(pieces.begin(), pieces.end());
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
}

}  // namespace

void DocumentCutter::find_pieces(const Tensor& tokens, const Tensor& targets, std::int32_t start) {
  pieces_.clear();
  const std::int64_t steps = tokens.dim(1);
  for (std::int64_t b = 0; b < tokens.dim(0); ++b) {
    const std::int32_t* inputs = tokens.data<std::int32_t>() + b * steps;
    const std::int32_t* wanted = targets.data<std::int32_t>() + b * steps;
    DocumentPiece piece{.row = b};
    for (std::int64_t t = 0; t < steps; ++t) {
      if (t > piece.first && inputs[t] == start) {
        if (piece.length > 0) pieces_.push_back(piece);
        piece = {.row = b, .first = t};
      }
      if (wanted[t] >= 0) piece.length = t + 1 - piece.first;
    }
    if (piece.length > 0) pieces_.push_back(piece);
  }
  if (pieces_.empty()) pieces_.push_back({.row = 0, .first = 0, .length = 1});
}

std::span<const DocumentRows> DocumentCutter::cut(const Tensor& tokens, const Tensor& targets, std::int32_t start) {
  MIXGRAD_ASSERT(tokens.shape().rank() == 2 && tokens.shape() == targets.shape() && tokens.is_contiguous() &&
                     targets.is_contiguous(),
                 "two contiguous tensors [B,T]");
  find_pieces(tokens, targets, start);
  // The longest first, those of one length in their order (std::stable_sort would take memory).
  std::sort(pieces_.begin(), pieces_.end(), [](const DocumentPiece& a, const DocumentPiece& b) {
    return std::tuple(-a.length, a.row, a.first) < std::tuple(-b.length, b.row, b.first);
  });
  for (DocumentRows& rows : rows_) rows.tokens = rows.targets = Tensor();  // back to the pool, for the rows of this cut
  std::size_t groups = 0;
  for (std::size_t first = 0; first < pieces_.size(); ++groups) {
    const std::int64_t length = pieces_[first].length;
    const auto most = static_cast<std::size_t>(tokens.numel() / length);  // rows that take no more than the windows
    std::size_t end = first + 1;
    while (end < pieces_.size() && end - first < most &&
           (length <= kShortRow || 4 * pieces_[end].length >= 3 * length)) {
      ++end;
    }
    if (groups == rows_.size()) rows_.emplace_back();
    fill_rows(std::span(pieces_).subspan(first, end - first), tokens, targets, rows_[groups]);
    first = end;
  }
  return std::span(rows_).first(groups);
}

std::vector<DocumentRows> cut_at_documents(const Tensor& tokens, const Tensor& targets, std::int32_t start) {
  DocumentCutter cutter;
  const std::span<const DocumentRows> rows = cutter.cut(tokens, targets, start);
  return {rows.begin(), rows.end()};
}

}  // namespace mixgrad
