// The tensor cores' instructions for bf16 (mma.sync.m16n8k16: bf16 products, f32 sums) and tf32 (m16n8k8: f32 rounded
// to 11 bits, f32 sums), and how their operands come out of shared memory. They need compute capability 8.0: below it
// the code is a trap that is never called.
//
// Fragments, g = lane / 4, t = lane % 4 (PTX ISA, "Matrix fragments for mma.m16n8k16"):
//   A 16x16: {(g, 2t..), (g + 8, 2t..), (g, 2t + 8..), (g + 8, 2t + 8..)}, two neighbours each
//   B 16x8:  {(2t.., g), (2t + 8.., g)}              C 16x8: {(g, 2t), (g, 2t + 1), (g + 8, 2t), (g + 8, 2t + 1)}
// and of mma.m16n8k8 for tf32:
//   A 16x8:  {(g, t), (g + 8, t), (g, t + 4), (g + 8, t + 4)}      B 8x8: {(t, g), (t + 4, g)}      C as above
#pragma once

#include <cuda_runtime.h>

#include "core/dtype.h"

namespace mixgrad::cuda {

#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 800
#define MIXGRAD_SM80(...) __VA_ARGS__
#else
#define MIXGRAD_SM80(...) __trap()
#endif

__device__ inline unsigned shared_address(const void* memory) {
  return static_cast<unsigned>(__cvta_generic_to_shared(memory));
}

namespace tensor_core {

// Four 8x8 matrices of bf16, or matrices of 8 rows of four f32, of which lane l gets element l % 4 of row l / 4; lane l
// gives the address of row l % 8 of matrix l / 8.
__device__ inline void load_matrices(unsigned (&to)[4], const void* row) {
  MIXGRAD_SM80(asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                            : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
                            : "r"(shared_address(row))
                            : "memory"));
}
__device__ inline void load_transposed_matrices(unsigned (&to)[4], const bf16* row) {
  MIXGRAD_SM80(asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                            : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
                            : "r"(shared_address(row))
                            : "memory"));
}

// c += a b
__device__ inline void multiply_add(float (&c)[4], const unsigned (&a)[4], unsigned b0, unsigned b1) {
  MIXGRAD_SM80(
      asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
                   "{%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                   : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
                   : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1)));
}

// c += a b, operands as to_tf32 gives them
__device__ inline void multiply_add_tf32(float (&c)[4], const unsigned (&a)[4], unsigned b0, unsigned b1) {
  MIXGRAD_SM80(
      asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 "
                   "{%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                   : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
                   : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1)));
}

// x rounded to tf32 (to nearest, ties away from 0). NaN stays NaN.
__device__ inline unsigned to_tf32(float x) {
  unsigned rounded = 0;
  MIXGRAD_SM80(asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(rounded) : "f"(x)));
  return rounded;
}

// Two values rounded to bf16 (to nearest, ties to even), the first in the lower half.
__device__ inline unsigned packed(float first, float second) {
  unsigned pair = 0;
  MIXGRAD_SM80(asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(second), "f"(first)));
  return pair;
}
__device__ inline float lower(unsigned pair) { return __uint_as_float(pair << 16U); }
__device__ inline float upper(unsigned pair) { return __uint_as_float(pair & 0xffff0000U); }

}  // namespace tensor_core
}  // namespace mixgrad::cuda
