// The sizes of a tensor: up to five axes, row-major, the last axis innermost.
#pragma once

#include <array>
#include <cstdint>
#include <initializer_list>
#include <iosfwd>
#include <string>

namespace mixgrad {

class Shape {
 public:
  static constexpr int kMaxRank = 5;

  Shape() = default;
  Shape(std::initializer_list<std::int64_t> dims);  // ShapeError: more than 5 axes, or a negative size
  static Shape from(const std::int64_t* dims, int rank);

  int rank() const { return rank_; }
  // Size of axis i; negative i counts from the end (-1 = innermost).
  std::int64_t operator[](int axis) const { return dims_[static_cast<std::size_t>(axis < 0 ? axis + rank_ : axis)]; }
  std::int64_t numel() const;
  // A tensor read as a matrix: cols = the last axis (1 for a scalar), rows = everything before it.
  std::int64_t cols() const { return rank_ == 0 ? 1 : dims_[static_cast<std::size_t>(rank_ - 1)]; }
  std::int64_t rows() const { return cols() == 0 ? 0 : numel() / cols(); }
  Shape with_last(std::int64_t size) const;  // the same shape with another innermost size

  Shape without_last() const;  // the axes before the innermost

  friend bool operator==(const Shape& a, const Shape& b);
  std::string str() const;  // "[2,3,4]"

 private:
  std::array<std::int64_t, kMaxRank> dims_{};
  int rank_ = 0;
};

std::ostream& operator<<(std::ostream& out, const Shape& shape);

}  // namespace mixgrad
