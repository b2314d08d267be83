// Where a kernel of the CPU puts a gradient: it is written, or added to what is there.
#pragma once

#include <cstdint>

#include "autograd/tape.h"
#include "core/rows.h"

namespace mixgrad::cpu {

// to = value, or to += value, computed in the accumulation type and rounded once.
template <class T>
inline void put(T& to, bool add, acc_t<T> value) {
  assign(to, add ? acc_t<T>(to) + value : value);
}

// The rows of a GradTarget. A target that is not wanted takes nothing.
template <class T>
struct Target {
  Rows<T> rows;
  bool add;

  explicit Target(const GradTarget& target) : rows(target.tensor), add(target.add) {}
  explicit operator bool() const { return rows.data != nullptr; }
  void put(std::int64_t row, std::int64_t column, acc_t<T> value) const {
    if (rows) cpu::put(rows[row][column], add, value);
  }
  // `count` neighbouring elements.
  void put(std::int64_t row, std::int64_t column, const acc_t<T>* values, std::int64_t count) const {
    if (!rows) return;
    T* to = rows[row] + column;
    for (std::int64_t c = 0; c < count; ++c) cpu::put(to[c], add, values[c]);
  }
};

}  // namespace mixgrad::cpu
