#include "core/shape.h"

#include <ostream>

#include "core/error.h"

namespace mixgrad {

Shape Shape::from(const std::int64_t* dims, int rank) {
  if (rank > kMaxRank) raise<ShapeError>("shape: at most ", kMaxRank, " axes, got ", rank);
  Shape shape;
  shape.rank_ = rank;
  for (int i = 0; i < rank; ++i) {
    if (dims[i] < 0) raise<ShapeError>("shape: sizes must be at least 0, got ", dims[i], " for axis ", i);
    shape.dims_[static_cast<std::size_t>(i)] = dims[i];
  }
  return shape;
}

Shape::Shape(std::initializer_list<std::int64_t> dims) { *this = from(dims.begin(), static_cast<int>(dims.size())); }

std::int64_t Shape::numel() const {
  std::int64_t count = 1;
  for (int i = 0; i < rank_; ++i) count *= (*this)[i];
  return count;
}

Shape Shape::with_last(std::int64_t size) const {
  if (rank_ == 0) raise<ShapeError>("shape: a scalar has no innermost axis to change");
  Shape shape = *this;
  shape.dims_[static_cast<std::size_t>(rank_ - 1)] = size;
  return shape;
}

Shape Shape::without_last() const {
  if (rank_ == 0) raise<ShapeError>("shape: a scalar has no innermost axis to leave out");
  return from(dims_.data(), rank_ - 1);
}

bool operator==(const Shape& a, const Shape& b) {
  if (a.rank_ != b.rank_) return false;
  for (int i = 0; i < a.rank_; ++i) {
    if (a[i] != b[i]) return false;
  }
  return true;
}

std::string Shape::str() const {
  std::string text = "[";
  for (int i = 0; i < rank_; ++i) {
    if (i > 0) text += ',';
    text += std::to_string((*this)[i]);
  }
  return text + "]";
}

std::ostream& operator<<(std::ostream& out, const Shape& shape) { return out << shape.str(); }

}  // namespace mixgrad
