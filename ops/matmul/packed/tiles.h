// Private to ops/matmul: a unit that multiplies tiles of bf16, the processor's (Intel AMX) or the same in plain loops.
//
// Eight registers of 16 rows x 64 bytes: 16 x 16 floats, or 16 rows of 16 pairs of bf16. dot<C, A, B> adds to
// register C the product of A, 16 rows x 32 along k, and B, in which row p holds the pairs (2p, 2p+1) along k of 16
// columns. The order of the additions is fixed and documented (Intel, Software Developer's Manual, TDPBF16PS):
//
//   even = sum over p of A[m][2p] B[2p][n], odd likewise of 2p+1; each from 0, in order, by multiply-adds in f32
//   C[m][n] += even + odd                                         to nearest; denormals are 0, in and out
//
// PlainTiles gives the same bits on any processor whose denormals are flushed (tested where there is AMX); it is the
// reference, and far too slow to train with.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

namespace mixgrad::cpu {

inline constexpr int kTileSide = 16;                      // rows, and dwords of a row
inline constexpr int kTileK = 32;                         // elements along k
inline constexpr int kTileElements = kTileSide * kTileK;  // of bf16, 1 KiB

// Clang's assembler takes these instructions only where they are enabled for the whole file.
#if defined(__x86_64__) && defined(__linux__) && (!defined(__clang__) || defined(__AMX_BF16__))
#define MIXGRAD_AMX 1
#else
#define MIXGRAD_AMX 0
#endif

class PlainTiles {
 public:
  template <int R>
  void zero() {
    std::memset(registers_[R], 0, sizeof registers_[R]);
  }
  // 16 rows of 64 bytes, one after the other.
  template <int R>
  void load(const std::uint16_t* from) {
    std::memcpy(registers_[R], from, sizeof registers_[R]);
  }
  // 16 rows of 16 floats, `stride` floats apart.
  template <int R>
  void load_sums(const float* from, std::int64_t stride) {
    for (int i = 0; i < kTileSide; ++i) std::memcpy(registers_[R][i], from + i * stride, sizeof registers_[R][i]);
  }
  template <int R>
  void store(float* to, std::int64_t stride) const {
    for (int i = 0; i < kTileSide; ++i) std::memcpy(to + i * stride, registers_[R][i], sizeof registers_[R][i]);
  }
  template <int C, int A, int B>
  void dot() {
    for (int m = 0; m < kTileSide; ++m) {
      for (int n = 0; n < kTileSide; ++n) {
        float even = 0;
        float odd = 0;
        for (int p = 0; p < kTileSide; ++p) {
          even = std::fma(low(registers_[A][m][p]), low(registers_[B][p][n]), even);
          odd = std::fma(high(registers_[A][m][p]), high(registers_[B][p][n]), odd);
        }
        const float sum = value(registers_[C][m][n]) + (even + odd);
        std::memcpy(&registers_[C][m][n], &sum, sizeof sum);
      }
    }
  }

 private:
  static float value(std::uint32_t bits) {
    float x = 0;
    std::memcpy(&x, &bits, sizeof x);
    return x;
  }
  static float low(std::uint32_t pair) { return value(pair << 16U); }
  static float high(std::uint32_t pair) { return value(pair & 0xffff0000U); }

  std::uint32_t registers_[8][kTileSide][kTileSide];
};

#if MIXGRAD_AMX
// The registers of the calling thread, set up for as long as the object lives. In assembly, so that any build contains
// them and the processor decides; the compiler's own functions take register numbers as literals only.
class AmxTiles {
 public:
  AmxTiles() {
    struct alignas(64) {
      std::uint8_t palette = 1, start_row = 0, unused[14] = {};
      std::uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
      std::uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
    } shape;
    static_assert(sizeof shape == 64);
    asm volatile("ldtilecfg %0" ::"m"(shape));
  }
  ~AmxTiles() { asm volatile("tilerelease" ::); }
  AmxTiles(const AmxTiles&) = delete;
  AmxTiles& operator=(const AmxTiles&) = delete;

  template <int R>
  void zero() {
    asm volatile("tilezero %%tmm%c0" ::"i"(R));
  }
  template <int R>
  void load(const std::uint16_t* from) {
    asm volatile("tileloadd (%0,%1,1), %%tmm%c2" ::"r"(from), "r"(std::int64_t{64}), "i"(R) : "memory");
  }
  template <int R>
  void load_sums(const float* from, std::int64_t stride) {
    asm volatile("tileloadd (%0,%1,1), %%tmm%c2" ::"r"(from), "r"(4 * stride), "i"(R) : "memory");
  }
  template <int R>
  void store(float* to, std::int64_t stride) const {
    asm volatile("tilestored %%tmm%c2, (%0,%1,1)" ::"r"(to), "r"(4 * stride), "i"(R) : "memory");
  }
  template <int C, int A, int B>
  void dot() {
    asm volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" ::"i"(C), "i"(A), "i"(B));
  }
};
#endif

}  // namespace mixgrad::cpu
