#include "core/scratch.h"

#include <array>
#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "core/build.h"
#include "core/error.h"

namespace mixgrad {
namespace {

constexpr std::size_t kPage = 4096;
// Slots that began at the same offset in a page would meet in the same sets of the first cache.
constexpr std::size_t kStagger = std::size_t{5} * 64;

class Block {
 public:
  explicit Block(std::size_t offset) : offset_(offset) {}
  Block(const Block&) = delete;
  Block& operator=(const Block&) = delete;
  ~Block() { std::free(memory_); }

  std::size_t bytes() const { return bytes_; }
  void* data() const { return memory_ + offset_; }

  bool grow(std::size_t bytes) noexcept;

 private:
  std::size_t offset_;
  unsigned char* memory_ = nullptr;
  std::size_t bytes_ = 0;
};

// The largest size that any thread has of a slot, and how often one of these sizes rose.
std::array<std::atomic<std::size_t>, kScratchSlots> g_largest{};
std::atomic<std::int64_t> g_rises{0};
std::atomic<std::int64_t> g_growths{0};

bool Block::grow(std::size_t bytes) noexcept {
  std::free(memory_);
  memory_ = nullptr;
  bytes_ = 0;
  if (bytes > SIZE_MAX / 2) return false;
  const std::size_t whole = (bytes + offset_ + kPage - 1) / kPage * kPage;
  memory_ = static_cast<unsigned char*>(std::aligned_alloc(kPage, whole));
  if (memory_ == nullptr) return false;
  g_growths.fetch_add(1, std::memory_order_relaxed);
  bytes_ = whole - offset_;
  if constexpr (build::checked) std::memset(memory_, 0xff, whole);
  return true;
}

template <std::size_t... Slot>
std::array<Block, kScratchSlots> make_blocks(std::index_sequence<Slot...> /*slots*/) {
  return {Block(Slot * kStagger)...};
}

thread_local std::array<Block, kScratchSlots> t_blocks = make_blocks(std::make_index_sequence<kScratchSlots>());
thread_local std::int64_t t_seen = 0;  // g_rises when this thread last caught up

// The calling thread's slot, and whether it had to grow.
std::pair<Block&, bool> slot_of_at_least(std::size_t slot, std::size_t bytes) {
  Block& block = t_blocks[slot];
  if (block.bytes() >= bytes) return {block, false};
  if (!block.grow(bytes)) {
    raise<OutOfMemory>("scratch memory of a thread: needs ", bytes, " bytes; use smaller shapes or fewer threads");
  }
  return {block, true};
}

}  // namespace

void* thread_scratch_bytes(int slot, std::size_t bytes) {
  const auto index = static_cast<std::size_t>(slot);
  const auto [block, grew] = slot_of_at_least(index, bytes);
  if (grew) {
    std::size_t largest = g_largest[index].load(std::memory_order_relaxed);
    while (largest < block.bytes() &&
           !g_largest[index].compare_exchange_weak(largest, block.bytes(), std::memory_order_relaxed)) {
    }
    if (largest < block.bytes()) g_rises.fetch_add(1, std::memory_order_release);
  }
  return block.data();
}

void* caller_scratch_bytes(int slot, std::size_t bytes) {
  return slot_of_at_least(static_cast<std::size_t>(slot), bytes).first.data();
}

void catch_up_scratch() noexcept {
  const std::int64_t rises = g_rises.load(std::memory_order_acquire);
  if (rises == t_seen) return;
  t_seen = rises;
  for (std::size_t slot = 0; slot < kScratchSlots; ++slot) {
    const std::size_t largest = g_largest[slot].load(std::memory_order_relaxed);
    if (t_blocks[slot].bytes() < largest) t_blocks[slot].grow(largest);
  }
}

std::int64_t scratch_growths() { return g_growths.load(std::memory_order_relaxed); }

}  // namespace mixgrad
