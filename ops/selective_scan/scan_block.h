// Private to the chunked implementation on the CPU: a block of channels in memory and in registers.
#pragma once

#include <cstdint>

#include "ops/selective_scan/selective_scan_blocks.h"
#include "ops/support/lanes.h"

namespace mixgrad::cpu {

inline constexpr std::int64_t kBlock = kScanBlockChannels;

// [16][64] numbers, and a cache line behind them: the same token of the many arrays would lie a multiple of 4 KiB
// apart, in one set of the first cache. From the start of a cache line on, else every load of 64 bytes takes two.
template <class A, std::int64_t Tokens = kScanChunk>
struct alignas(64) ChunkArray {
  A rows[Tokens][kBlock];
  A gap[kLaneMultiple];

  A* operator[](std::int64_t k) { return rows[k]; }
  const A* operator[](std::int64_t k) const { return rows[k]; }
};

// The value of each channel of a block that a loop over tokens updates: read before the loop and written after it. It
// stays in registers where a whole block takes at most four (AVX-512, which writes only one register in two cycles),
// and in memory elsewhere.
template <class A>
inline constexpr bool kHolds = kBlock / kLanes<A> <= 4 && kVectorBytes == 64;

template <class A, bool Held>
struct LoopValue {
  explicit LoopValue(const A*) {}
  Vector<A> get(const A* memory, std::int64_t i) const { return load(memory + i); }
  void set(A* memory, std::int64_t i, Vector<A> x) { store(memory + i, x); }
  void put(A*) const {}
};
template <class A>
struct LoopValue<A, true> {
  Vector<A> held[kBlock / kLanes<A>];
  explicit LoopValue(const A* memory) {
    for (std::int64_t i = 0; i < kBlock; i += kLanes<A>) held[i / kLanes<A>] = load(memory + i);
  }
  Vector<A> get(const A*, std::int64_t i) const { return held[i / kLanes<A>]; }
  void set(A*, std::int64_t i, Vector<A> x) { held[i / kLanes<A>] = x; }
  void put(A* memory) const {
    for (std::int64_t i = 0; i < kBlock; i += kLanes<A>) store(memory + i, held[i / kLanes<A>]);
  }
};

}  // namespace mixgrad::cpu
