// The cached blocks of a pool (core/allocator.cpp). A Block has `capacity` and `next`.
#pragma once

#include <algorithm>
#include <cstddef>
#include <vector>

namespace mixgrad {

// By size: a bin for each capacity.
template <class Block>
class FreeBlocks {
 public:
  std::size_t bytes() const { return bytes_; }

  // Makes the bin of this size, so that put() of such a block never allocates.
  void prepare(std::size_t capacity) { bin_of(capacity); }

  void put(Block* block) {
    Bin& bin = bin_of(block->capacity);
    block->next = bin.free;
    bin.free = block;
    bytes_ += block->capacity;
  }

  // Best fit, at most a quarter larger than asked for; null when there is none.
  Block* take(std::size_t capacity) {
    for (auto bin = first_of(capacity); bin != bins_.end() && bin->capacity <= capacity + capacity / 4; ++bin) {
      if (bin->free != nullptr) return take_from(*bin);
    }
    return nullptr;
  }

  // Any block; null when there is none.
  Block* take_any() {
    for (Bin& bin : bins_) {
      if (bin.free != nullptr) return take_from(bin);
    }
    return nullptr;
  }

 private:
  struct Bin {
    std::size_t capacity;
    Block* free;
  };

  typename std::vector<Bin>::iterator first_of(std::size_t capacity) {
    return std::lower_bound(bins_.begin(), bins_.end(), capacity,
                            [](const Bin& bin, std::size_t size) { return bin.capacity < size; });
  }
  Bin& bin_of(std::size_t capacity) {
    const auto bin = first_of(capacity);
    if (bin != bins_.end() && bin->capacity == capacity) return *bin;
    return *bins_.insert(bin, Bin{capacity, nullptr});
  }
  Block* take_from(Bin& bin) {
    Block* block = bin.free;
    bin.free = block->next;
    bytes_ -= block->capacity;
    return block;
  }

  std::vector<Bin> bins_;  // ascending capacity
  std::size_t bytes_ = 0;
};

}  // namespace mixgrad
