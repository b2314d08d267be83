// Memory of tensors: a caching pool per device, and the reference-counted handle to one block of it.
//
// A block that no tensor refers to any more returns to the pool, not to the system. From the second step on, a training
// step of fixed shapes therefore asks the system for nothing: not for tensors, nor for their bookkeeping.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "core/device.h"
#include "core/dtype.h"
#include "core/shape.h"

namespace mixgrad {

class Pool;

struct PoolStats {
  std::size_t in_use = 0;               // bytes in blocks that somebody holds
  std::size_t cached = 0;               // bytes in blocks that wait for reuse
  std::size_t peak = 0;                 // largest in_use since the last reset_peak
  std::int64_t system_allocations = 0;  // how often the pool grew
};

PoolStats pool_stats(Device device);
std::size_t free_memory_on(Device device);  // bytes that the pool could still get from the system
void pool_reset_peak(Device device);
void pool_trim(Device device);  // gives cached blocks back to the system

// What the pool was asked for, in order: the plan of a training run is made from it (nn/training/memory_plan.h).
struct PoolEvent {
  std::int64_t block = 0;  // a number of its own for each block handed out
  std::size_t bytes = 0;   // asked for; 0 = the block was given back
};

// While it lives, notes what the pool of the device is asked for; one at a time. Blocks that were handed out before and
// come back in the meantime are not noted.
class PoolTrace {
 public:
  explicit PoolTrace(Device device);
  ~PoolTrace();
  PoolTrace(const PoolTrace&) = delete;
  PoolTrace& operator=(const PoolTrace&) = delete;
  std::vector<PoolEvent> events;

 private:
  Device device_;
};

// The statistics of a fresh pool after these events: the pool's own rules, without memory.
PoolStats replay_pool(std::span<const PoolEvent> events);

// A pool beside the device's own, for memory that must stay where it is: what a captured CUDA graph reads and writes.
// While a Scope on it lives, this thread's tensors on that device come from it; a block returns to the pool it came
// from. pool_stats counts it in. When it ends before the last of its tensors, their memory stays theirs.
class PrivatePool {
 public:
  explicit PrivatePool(Device device);
  ~PrivatePool();
  PrivatePool(const PrivatePool&) = delete;
  PrivatePool& operator=(const PrivatePool&) = delete;

  class Scope {
   public:
    explicit Scope(PrivatePool& pool);
    ~Scope();
    Scope(const Scope&) = delete;
    Scope& operator=(const Scope&) = delete;

   private:
    Pool* outer_;
  };

 private:
  std::shared_ptr<Pool> pool_;
};

// For tests: the n-th pool growth from now on throws OutOfMemory (n = 1 is the next); 0 switches it off.
void pool_fail_at(Device device, std::int64_t n);

// What a block is for, as an OutOfMemory error says it.
struct MemoryLabel {
  Shape shape;
  DType dtype = DType::f32;
  const char* role = "";  // "parameters", "gradients", ...; "" = a tensor of a step. A literal: it is not copied
};

// One block of the pool. Copies share it; the last one to go returns it.
class Storage {
 public:
  Storage() = default;
  // 64-byte aligned. OutOfMemory names what was asked for, what is in use, cached and free, and the three largest
  // blocks. In checked builds every byte is 0xff: NaN in f64, f32 and bf16, and -1 in i32.
  static Storage allocate(std::size_t bytes, Device device, const MemoryLabel& label = {});
  void set_role(const char* role) const;

  Storage(const Storage& other) noexcept : block_(other.block_) { retain(); }
  Storage(Storage&& other) noexcept : block_(std::exchange(other.block_, nullptr)) {}
  Storage& operator=(Storage other) noexcept {
    std::swap(block_, other.block_);
    return *this;
  }
  ~Storage() { release(); }

  void* data() const;
  std::size_t bytes() const;  // as asked for, without rounding
  Device device() const;
  int use_count() const;
  explicit operator bool() const { return block_ != nullptr; }
  friend bool operator==(const Storage& a, const Storage& b) { return a.block_ == b.block_; }

 private:
  friend class Pool;
  struct Block;
  void retain() const;
  void release();
  Block* block_ = nullptr;
};

}  // namespace mixgrad
