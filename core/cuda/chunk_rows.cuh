// Rows that are read and written 16 bytes at a time.
#pragma once

#include "core/cuda/launch.cuh"

namespace mixgrad::cuda {

// Are the rows of these tensors whole chunks of 16 bytes? They may be row views. Undefined tensors do not matter.
inline bool are_chunk_rows(std::initializer_list<const Tensor*> tensors) {
  for (const Tensor* x : tensors) {
    if (!x->defined()) continue;
    const auto bytes_of = [&](std::int64_t elements) {
      return elements * static_cast<std::int64_t>(dtype_bytes(x->dtype()));
    };
    if (reinterpret_cast<std::uintptr_t>(x->raw()) % 16 != 0 || bytes_of(x->row_stride()) % 16 != 0 ||
        bytes_of(x->cols()) % 16 != 0) {
      return false;
    }
  }
  return true;
}

// Rows of chunks; null where the tensor is undefined.
template <class T>
struct ChunkRows {
  Rows<T> rows;

  explicit ChunkRows(const Tensor& tensor) : rows(tensor) {}
  MIXGRAD_HD explicit operator bool() const { return rows.data != nullptr; }
  __device__ Chunk<T>& at(std::int64_t r, std::int64_t i) const {
    return *reinterpret_cast<Chunk<T>*>(rows[r] + i * Chunk<T>::kSize);
  }
};

}  // namespace mixgrad::cuda
