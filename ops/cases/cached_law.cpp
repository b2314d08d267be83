// Whatever the pieces of a sequence are, the cached form gives what the operator gives for the whole, also after many
// tokens: a state that is kept too coarsely drifts away from the truth, which is the operator in f64.
#include <algorithm>
#include <cmath>

#include "ops/cases/close.h"
#include "ops/cases/law_support.h"

namespace mixgrad::test {
namespace {

constexpr std::int64_t kLongSequence = 10000;
constexpr std::int64_t kStretch = 500;  // tokens whose error is compared with their own largest value

// Rows [begin, end) of the second axis of x [B,S,...], copied.
Tensor rows_of(const Tensor& x, std::int64_t begin, std::int64_t end) {
  const std::int64_t batch = x.dim(0);
  const std::int64_t width = x.numel() / (batch * x.dim(1));
  Tensor part = Tensor::empty({batch * (end - begin), width}, x.dtype(), x.device());
  const Tensor all = x.reshape({batch * x.dim(1), width});
  for (std::int64_t b = 0; b < batch; ++b) {
    const Tensor from = all.slice(b * x.dim(1) + begin, b * x.dim(1) + end);
    part.slice(b * (end - begin), (b + 1) * (end - begin)).copy_from(from);
  }
  switch (x.shape().rank()) {
    case 2: return part.reshape({batch, end - begin});
    case 3: return part.reshape({batch, end - begin, x.dim(2)});
    case 4: return part.reshape({batch, end - begin, x.dim(2), x.dim(3)});
    default: return part.reshape({batch, end - begin, x.dim(2), x.dim(3), x.dim(4)});
  }
}

// A long beginning, then single tokens, then pieces of every kind.
std::int64_t piece_at(std::int64_t position, std::int64_t tokens, std::int64_t longest) {
  static constexpr std::int64_t kShort[] = {1, 1, 4, 5, 1};
  static constexpr std::int64_t kLong[] = {7, 1, 64, 1, 250, 15, 17};
  std::int64_t piece = 0;
  if (tokens < kStretch) {
    piece = kShort[position % 5];
  } else if (position == 0) {
    piece = tokens / 8;
  } else if (position < tokens / 4) {
    piece = 1;
  } else {
    piece = kLong[position % 7];
  }
  if (longest > 0) piece = std::min(piece, longest);
  return std::min(piece, tokens - position);
}

// The whole sequence by the cached form, [B,T,...] in f64 on the host.
Tensor in_pieces(const CachedCase& c, const std::vector<Tensor>& inputs, std::int64_t tokens, const Shape& shape) {
  const Tensor all = Tensor::empty(shape, DType::f64);
  const std::int64_t width = all.numel() / (all.dim(0) * tokens);
  const PieceFunction next = c.start(inputs, tokens);
  for (std::int64_t position = 0; position < tokens;) {
    const std::int64_t end = position + piece_at(position, tokens, c.longest_piece);
    std::vector<Tensor> piece;
    for (std::size_t i = 0; i < inputs.size(); ++i) {
      const bool cut = c.sequences.contains(static_cast<int>(i));
      const std::int64_t rows = cut ? inputs[i].dim(1) / tokens : 0;  // of a token
      piece.push_back(cut ? rows_of(inputs[i], position * rows, end * rows) : inputs[i]);
    }
    const std::vector<double> got = next(piece, position).to(kCpu).to_vector();
    const std::int64_t of_sequence = (end - position) * width;
    double* to = all.data<double>();
    for (std::int64_t b = 0; b < all.dim(0); ++b) {
      std::copy_n(got.begin() + b * of_sequence, of_sequence, to + (b * tokens + position) * width);
    }
    position = end;
  }
  return all;
}

// Empty when got is want within the tolerance, relative to the largest value of each stretch of tokens.
std::string drift(const Tensor& got, const Tensor& want, double tolerance) {
  for (std::int64_t begin = 0; begin < want.dim(1); begin += kStretch) {
    const std::int64_t end = std::min(want.dim(1), begin + kStretch);
    const Tensor part = rows_of(want, begin, end);
    const std::string difference =
        not_close_to_scale(rows_of(got, begin, end), part, tolerance, std::max(largest_of(part), 1e-30));
    if (!difference.empty()) {
      return "tokens " + std::to_string(begin) + " to " + std::to_string(end) + ": " + difference;
    }
  }
  return {};
}

void check_sequence(LawCheck& check, const CachedCase& c, std::int64_t tokens, DType dtype, Device device) {
  check.about(c.note + ", " + std::to_string(tokens) + " tokens, " + dtype_name(dtype));
  OpCase as_case{c.note, c.inputs(tokens), c.whole, c.whole, c.roles};
  const Tensor want = c.whole(rounded_inputs(as_case, dtype))[0];
  const std::vector<Tensor> inputs = copies_on(inputs_as(as_case, dtype), device);
  const Tensor whole = c.whole(inputs)[0].to(kCpu).to(DType::f64);
  check.empty(drift(whole, want, dtype_tolerance(dtype)), "the whole");
  check.empty(drift(in_pieces(c, inputs, tokens, want.shape()), want, dtype_tolerance(dtype)), "in pieces");
}

}  // namespace

void check_pieces(const OperatorUnderCheck& subject, LawReport& report) {
  LawCheck check(report);
  for (const CachedCase& c : subject.cases.cached) {
    for (const DType dtype : kFloatDTypes) {
      check_sequence(check, c, 23, dtype, subject.options.device);
      check_sequence(check, c, subject.options.brief ? kLongSequence / 10 : kLongSequence, dtype,
                     subject.options.device);
    }
  }
}

}  // namespace mixgrad::test
