// Above 400 lines by a few: the pool, and the storage that takes its blocks from it, share the block.
#include "core/allocator.h"

#include <sys/mman.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <unordered_map>
#include <vector>

#include "core/build.h"
#include "core/cuda/cuda.h"
#include "core/error.h"
#include "core/free_blocks.h"
#include "core/system/free_memory.h"
#include "core/text/bytes.h"

namespace mixgrad {

struct Storage::Block {
  void* data = nullptr;
  std::size_t bytes = 0;     // asked for
  std::size_t capacity = 0;  // rounded up, what the system gave
  std::atomic<int> references{0};
  Device device;
  Pool* owner = nullptr;  // the pool that it returns to
  MemoryLabel label;
  std::int64_t number = 0;    // in the trace; 0 = handed out before it began
  Block* next = nullptr;      // in the free list, or among the blocks that tensors refer to
  Block* previous = nullptr;  // among the latter
};

namespace {

constexpr std::size_t kAlignment = 64;
constexpr int kMaxDevices = kMaxDeviceIndex + 1;
constexpr std::size_t kHugePage = std::size_t{2} << 20U;

// Sizes are rounded so that blocks are found again: to 512 bytes, above 64 KiB to an eighth of the power of two below.
std::size_t round_up(std::size_t bytes) {
  std::size_t step = 512;
  if (bytes > 65536) {
    while (step * 16 <= bytes) step *= 2;
  }
  return (std::max<std::size_t>(bytes, 1) + step - 1) / step * step;
}

// Null when the device has no such block left. Large blocks of the host ask for huge pages: 2 to 3 % of a training
// step, whose products stride over them.
void* system_allocate(std::size_t capacity, Device device) {
  if constexpr (build::has_cuda) {
    if (device.is_cuda()) return cuda::allocate(capacity, device);
  }
  if (capacity < kHugePage) return std::aligned_alloc(kAlignment, capacity);
  const std::size_t whole = (capacity + kHugePage - 1) / kHugePage * kHugePage;
  void* data = std::aligned_alloc(kHugePage, whole);
#if defined(MADV_HUGEPAGE)
  if (data != nullptr) madvise(data, whole, MADV_HUGEPAGE);  // only advice: the system may ignore it
#endif
  return data;
}

void system_release(void* data, Device device) {
  if constexpr (build::has_cuda) {
    if (device.is_cuda()) return cuda::release(data, device);
  }
  std::free(data);
}

}  // namespace

std::size_t free_memory_on(Device device) {
  if constexpr (build::has_cuda) {
    if (device.is_cuda()) return cuda::memory_info(device).free;
  }
  return free_memory();
}

namespace {

// NaN in f64, f32 and bf16, and -1 in i32.
[[maybe_unused]] void fill_fresh(void* data, std::size_t bytes, Device device) {
  if constexpr (build::has_cuda) {
    if (device.is_cuda()) return cuda::fill_rows(data, device, bytes, bytes, 1, 0xff);
  }
  std::memset(data, 0xff, bytes);
}

}  // namespace

// What all pools of a device have handed out at the same time.
struct DeviceUse {
  std::atomic<std::size_t> in_use{0};
  std::atomic<std::size_t> peak{0};

  void add(std::size_t bytes) {
    const std::size_t now = in_use += bytes;
    std::size_t before = peak;
    while (before < now && !peak.compare_exchange_weak(before, now)) {
    }
  }
};

enum class PoolKind {
  of_device,   // the one pool of a device
  of_graph,    // a private pool: when the device has no memory left, the device's own pool is trimmed
  accounting,  // hands out no memory and only counts
};

class Pool {
 public:
  using Block = Storage::Block;

  static Pool& of(Device device) {
    // Never destroyed: tensors with static lifetime may return blocks at exit.
    static Pool* cpu = new Pool;
    if (device.is_cpu()) return *cpu;
    if constexpr (build::has_cuda) {
      static auto* cuda = new std::array<Pool, kMaxDevices>;
      if (device.index >= 0 && device.index < kMaxDevices) {
        return (*cuda)[static_cast<unsigned char>(device.index)];
      };
    }
    raise<DeviceError>(
        "allocate: ", build::has_cuda ? "there is no device " : "this build has the device cpu only, got ",
        device.str(), build::has_cuda ? "" : "; build with cmake --preset cuda");
  }

  // The pool from which this thread allocates: the device's, or the private one whose scope it is in.
  static Pool& current(Device device);

  Pool() = default;
  explicit Pool(PoolKind kind) : kind_(kind) {}
  explicit Pool(Device device) : kind_(PoolKind::of_graph), device_(device), device_use_(&of(device).own_use_) {}

  Block* allocate(std::size_t bytes, Device device, const MemoryLabel& label) {
    const std::scoped_lock lock(mutex_);
    const std::size_t capacity = round_up(bytes);
    Block* block = free_.take(capacity);
    if (block == nullptr) block = grow(bytes, capacity, device, label);
    block->bytes = bytes;
    block->label = label;
    block->references.store(1, std::memory_order_relaxed);
    add_to_held(block);
    stats_.in_use += block->capacity;
    device_use_->add(block->capacity);
    if (trace_ != nullptr) {
      block->number = ++traced_;
      trace_->push_back({block->number, std::max<std::size_t>(bytes, 1)});
    }
    if constexpr (build::checked) {
      if (kind_ != PoolKind::accounting) fill_fresh(block->data, block->capacity, device);
    }
    return block;
  }

  void give_back(Block* block) {
    const std::scoped_lock lock(mutex_);
    if (trace_ != nullptr && block->number > 0) trace_->push_back({block->number, 0});
    block->number = 0;
    remove_from_held(block);
    stats_.in_use -= block->capacity;
    device_use_->in_use -= block->capacity;
    free_.put(block);
  }

  void set_role(Block* block, const char* role) {
    const std::scoped_lock lock(mutex_);
    block->label.role = role;
  }

  void trace_into(std::vector<PoolEvent>* events) {
    const std::scoped_lock lock(mutex_);
    trace_ = events;
    traced_ = 0;
    for (Block* block = held_; block != nullptr; block = block->next) block->number = 0;
  }

  void trim() {
    const std::scoped_lock lock(mutex_);
    give_back_cached();
  }

  Device device() const { return device_; }
  PoolStats stats() {
    const std::scoped_lock lock(mutex_);
    PoolStats stats = stats_;
    stats.cached = free_.bytes();
    stats.peak = device_use_->peak;
    return stats;
  }
  void reset_peak() { device_use_->peak = device_use_->in_use.load(); }
  void fail_at(std::int64_t n) {
    const std::scoped_lock lock(mutex_);
    fail_in_ = n;
  }

 private:
  void add_to_held(Block* block) {
    block->previous = nullptr;
    block->next = held_;
    if (held_ != nullptr) held_->previous = block;
    held_ = block;
  }

  void remove_from_held(Block* block) {
    if (block->previous == nullptr) {
      held_ = block->next;
    } else {
      block->previous->next = block->next;
    }
    if (block->next != nullptr) block->next->previous = block->previous;
  }

  // All cached blocks to the system; were there any?
  bool give_back_cached() {
    const bool any = free_.bytes() > 0;
    while (Block* block = free_.take_any()) {
      if (kind_ != PoolKind::accounting) system_release(block->data, block->device);
      delete block;
    }
    return any;
  }

  Block* grow(std::size_t bytes, std::size_t capacity, Device device, const MemoryLabel& label) {
    const bool fault = fail_in_ > 0 && --fail_in_ == 0;
    const std::size_t cached = free_.bytes();
    void* data = fault ? nullptr : obtain(capacity, device);
    if (data == nullptr && !fault && give_back_cached()) data = obtain(capacity, device);
    if (data == nullptr && !fault && kind_ == PoolKind::of_graph) {
      of(device).trim();
      data = obtain(capacity, device);
    }
    if (data == nullptr) {
      raise<OutOfMemory>("out of memory on ", device.str(), ": ", bytes_text(bytes), " asked for (", describe(label),
                         "), ", bytes_text(stats_.in_use), " in use, ", bytes_text(cached), " cached, ",
                         bytes_text(free_memory_on(device)), " free; the largest: ", largest(),
                         "; free some of them, or compute less at once");
    }
    auto* block = new Block;
    block->data = data;
    block->capacity = capacity;
    block->device = device;
    block->owner = this;
    free_.prepare(capacity);
    ++stats_.system_allocations;
    return block;
  }

  void* obtain(std::size_t capacity, Device device) {
    return kind_ == PoolKind::accounting ? this : system_allocate(capacity, device);
  }

  static std::string describe(const MemoryLabel& label) {
    const std::string role = label.role;
    return (role.empty() ? "" : role + " ") + dtype_name(label.dtype) + " " + label.shape.str();
  }

  // "gradients f32 [1024] 4.0 KiB, ...": the three largest blocks that tensors refer to
  std::string largest() const {
    std::array<const Block*, 3> top{};
    for (const Block* block = held_; block != nullptr; block = block->next) {
      const Block* mover = block;
      for (const Block*& slot : top) {
        if (slot == nullptr || mover->bytes > slot->bytes) std::swap(slot, mover);
        if (mover == nullptr) break;
      }
    }
    std::string text;
    for (const Block* block : top) {
      if (block == nullptr) continue;
      text += (text.empty() ? "" : ", ") + describe(block->label) + " " + bytes_text(block->bytes);
    }
    return text.empty() ? "nothing is held" : text;
  }

  std::mutex mutex_;
  FreeBlocks<Block> free_;
  Block* held_ = nullptr;  // the blocks that tensors refer to, the youngest first
  PoolStats stats_;        // cached and peak are computed when they are asked for
  std::int64_t fail_in_ = 0;
  PoolKind kind_ = PoolKind::of_device;
  Device device_;  // of a private pool
  DeviceUse own_use_;
  DeviceUse* device_use_ = &own_use_;
  std::vector<PoolEvent>* trace_ = nullptr;
  std::int64_t traced_ = 0;
};

namespace {

thread_local Pool* t_scope = nullptr;  // the private pool whose scope this thread is in

// The private pools that live, so that pool_stats can count them in.
std::mutex g_private_mutex;
std::vector<Pool*> g_private;

}  // namespace

Pool& Pool::current(Device device) { return t_scope != nullptr && t_scope->device_ == device ? *t_scope : of(device); }

PrivatePool::PrivatePool(Device device) : pool_(std::make_shared<Pool>(device)) {
  const std::scoped_lock lock(g_private_mutex);
  g_private.push_back(pool_.get());
}

PrivatePool::~PrivatePool() {
  {
    const std::scoped_lock lock(g_private_mutex);
    std::erase(g_private, pool_.get());
  }
  pool_->trim();
  if (pool_->stats().in_use == 0) return;
  // Some tensors outlive this object, so the pool must live until the process ends. If even this small allocation fails
  // the process ends.
  // NOLINTNEXTLINE(bugprone-unhandled-exception-at-new)
  static auto* needed = new std::vector<std::shared_ptr<Pool>>;
  const std::scoped_lock lock(g_private_mutex);
  needed->push_back(pool_);
}

PrivatePool::Scope::Scope(PrivatePool& pool) : outer_(t_scope) { t_scope = pool.pool_.get(); }
PrivatePool::Scope::~Scope() { t_scope = outer_; }

PoolTrace::PoolTrace(Device device) : device_(device) { Pool::of(device).trace_into(&events); }
PoolTrace::~PoolTrace() { Pool::of(device_).trace_into(nullptr); }

PoolStats replay_pool(std::span<const PoolEvent> events) {
  Pool pool(PoolKind::accounting);
  std::unordered_map<std::int64_t, Pool::Block*> held;
  for (const PoolEvent& event : events) {
    if (event.bytes > 0) {
      held[event.block] = pool.allocate(event.bytes, kCpu, {});
      continue;
    }
    const auto found = held.find(event.block);
    MIXGRAD_ASSERT(found != held.end(), "a block is given back once, and after it was handed out");
    pool.give_back(found->second);
    held.erase(found);
  }
  const PoolStats stats = pool.stats();
  for (const auto& [number, block] : held) pool.give_back(block);
  pool.trim();
  return stats;
}

PoolStats pool_stats(Device device) {
  PoolStats all = Pool::of(device).stats();
  const std::scoped_lock lock(g_private_mutex);
  for (Pool* pool : g_private) {
    if (!(pool->device() == device)) continue;
    const PoolStats more = pool->stats();
    all.in_use += more.in_use;
    all.cached += more.cached;
    all.system_allocations += more.system_allocations;
  }
  return all;
}
void pool_reset_peak(Device device) { Pool::of(device).reset_peak(); }
void pool_trim(Device device) { Pool::of(device).trim(); }
void pool_fail_at(Device device, std::int64_t n) { Pool::of(device).fail_at(n); }

Storage Storage::allocate(std::size_t bytes, Device device, const MemoryLabel& label) {
  Storage storage;
  storage.block_ = Pool::current(device).allocate(bytes, device, label);
  return storage;
}

void Storage::set_role(const char* role) const {
  if (block_ != nullptr) block_->owner->set_role(block_, role);
}

void* Storage::data() const { return block_ == nullptr ? nullptr : block_->data; }
std::size_t Storage::bytes() const { return block_ == nullptr ? 0 : block_->bytes; }
Device Storage::device() const { return block_ == nullptr ? kCpu : block_->device; }
int Storage::use_count() const { return block_ == nullptr ? 0 : block_->references.load(std::memory_order_relaxed); }

void Storage::retain() const {
  if (block_ != nullptr) block_->references.fetch_add(1, std::memory_order_relaxed);
}

void Storage::release() {
  if (block_ == nullptr) return;
  if (block_->references.fetch_sub(1, std::memory_order_acq_rel) == 1) block_->owner->give_back(block_);
  block_ = nullptr;
}

}  // namespace mixgrad
