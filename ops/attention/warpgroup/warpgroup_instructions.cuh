// The instructions of compute capability 9.0a that the warp-group kernels are made of: barriers in shared memory that
// count bytes (mbarrier), tiles copied by the copy engine (TMA), and products of a warp group (wgmma). Source: PTX ISA
// 8.0, "Asynchronous Warpgroup Level Matrix Instructions", "Data Movement and Conversion Instructions: Tensor copy".
//
// Tiles in shared memory are panels of 64 bf16 columns: a row of a panel is 128 bytes, and the copy engine permutes the
// 16-byte chunks of each 8 rows ("128-byte swizzle"), which is the layout that wgmma reads without bank conflicts. A
// panel begins at a multiple of 1,024 bytes.
#pragma once

#include <cuda.h>
#include <cuda_runtime.h>

#include <cstdint>

#include "core/cuda/async_copy.cuh"
#include "core/dtype.h"

namespace mixgrad::cuda::warpgroup {

constexpr int kGroupThreads = 128;   // of a warp group
constexpr int kPanelColumns = 64;    // bf16 values of a row of a panel
constexpr int kPanelRowBytes = 128;  // the same in bytes

#if !defined(__CUDA_ARCH__) || defined(__CUDA_ARCH_FEAT_SM90_ALL)
#define MIXGRAD_SM90A(...) __VA_ARGS__
#else
#define MIXGRAD_SM90A(...) __trap()
#endif

// ---- barriers: a phase ends when `count` arrivals and all announced bytes have come; phases alternate in parity

__device__ inline void init_barrier(std::uint64_t* barrier, int count) {
  MIXGRAD_SM90A(asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(shared_address(barrier)), "r"(count)
                             : "memory"));
}
// Makes the barriers known to the copy engine.
__device__ inline void publish_barriers() {
  MIXGRAD_SM90A(asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory"));
  MIXGRAD_SM90A(asm volatile("fence.proxy.async;" ::: "memory"));
}
__device__ inline void arrive(std::uint64_t* barrier) {
  MIXGRAD_SM90A(asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(shared_address(barrier)) : "memory"));
}
// Arrives, and announces bytes that the copy engine is going to write.
__device__ inline void arrive_expecting(std::uint64_t* barrier, int bytes) {
  MIXGRAD_SM90A(
      asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(shared_address(barrier)), "r"(bytes)
                   : "memory"));
}
// Arrives once this thread's copies by cp.async have ended; the arrival is one of the barrier's count.
__device__ inline void arrive_after_copies(std::uint64_t* barrier) {
  MIXGRAD_SM90A(asm volatile("cp.async.mbarrier.arrive.noinc.shared::cta.b64 [%0];" ::"r"(shared_address(barrier))
                             : "memory"));
}
// Until the phase of this parity has ended.
__device__ inline void wait(std::uint64_t* barrier, int parity) {
  MIXGRAD_SM90A(
      asm volatile("{\n"
                   ".reg .pred done;\n"
                   "again:\n"
                   "mbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1;\n"
                   "@done bra ended;\n"
                   "bra again;\n"
                   "ended:\n"
                   "}\n" ::"r"(shared_address(barrier)),
                   "r"(parity)
                   : "memory"));
}

// ---- registers: a warp group gives some of its own to those that need more. kCount: a multiple of 8

template <int kCount>
__device__ void give_registers() {
  MIXGRAD_SM90A(asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(kCount)));
}
template <int kCount>
__device__ void take_registers() {
  MIXGRAD_SM90A(asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(kCount)));
}

// ---- the copy engine

// One panel of `map` (box: 64 columns, 1 head, rows of the map's box, 1 batch) to shared memory.
__device__ inline void copy_panel(void* to, const CUtensorMap& map, std::uint64_t* barrier, int column, int head,
                                  int row, int batch) {
  MIXGRAD_SM90A(asm volatile(
      "cp.async.bulk.tensor.4d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [%0], [%1, {%3, %4, %5, %6}], "
      "[%2];" ::"r"(shared_address(to)),
      "l"(&map), "r"(shared_address(barrier)), "r"(column), "r"(head), "r"(row), "r"(batch)
      : "memory"));
}

// ---- products

// Where a panel lies, for wgmma: 8 rows are 1,024 bytes; panels of a transposed operand are panel_bytes apart.
__device__ inline std::uint64_t descriptor(const void* panel, int panel_bytes) {
  const std::uint64_t address = shared_address(panel);
  return ((address & 0x3FFFFU) >> 4U) | (static_cast<std::uint64_t>(panel_bytes >> 4U) << 16U) |
         (std::uint64_t{1024 >> 4} << 32U) | (std::uint64_t{1} << 62U);
}

__device__ inline void begin_products() { MIXGRAD_SM90A(asm volatile("wgmma.fence.sync.aligned;" ::: "memory")); }
__device__ inline void commit_products() {
  MIXGRAD_SM90A(asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"));
}
template <int kOpen>
__device__ void wait_for_products() {
  MIXGRAD_SM90A(asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(kOpen) : "memory"));
}
// The compiler must not move reads or writes of these registers across a product in flight.
template <int kTiles>
__device__ void pin(float (&x)[kTiles][4]) {
#pragma unroll
  for (auto& tile : x) {
#pragma unroll
    for (float& value : tile) asm volatile("" : "+f"(value)::"memory");
  }
}

#define MIXGRAD_C4(m, n) m "f"(c[n][0]), m "f"(c[n][1]), m "f"(c[n][2]), m "f"(c[n][3])
#define MIXGRAD_C32(m, n)                                                                                   \
  MIXGRAD_C4(m, n), MIXGRAD_C4(m, n + 1), MIXGRAD_C4(m, n + 2), MIXGRAD_C4(m, n + 3), MIXGRAD_C4(m, n + 4), \
      MIXGRAD_C4(m, n + 5), MIXGRAD_C4(m, n + 6), MIXGRAD_C4(m, n + 7)
#define MIXGRAD_C16(m, n) MIXGRAD_C4(m, n), MIXGRAD_C4(m, n + 1), MIXGRAD_C4(m, n + 2), MIXGRAD_C4(m, n + 3)
#define MIXGRAD_R16 "%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15"
#define MIXGRAD_R32                                                                                                \
  "%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29," \
  "%30,%31"
#define MIXGRAD_R64                                                                                               \
  MIXGRAD_R32                                                                                                     \
  ",%32,%33,%34,%35,%36,%37,%38,%39,%40,%41,%42,%43,%44,%45,%46,%47,%48,%49,%50,%51,%52,%53,%54,%55,%56,%57,%58," \
  "%59,%60,%61,%62,%63"

// c (64 x 8 kTiles, f32) = a (64 x 16) b (16 x 8 kTiles), or += : both from shared memory, rows of 16 columns each.
template <int kTiles>
__device__ void multiply(float (&c)[kTiles][4], std::uint64_t a, std::uint64_t b) {
  static_assert(kTiles == 4 || kTiles == 8 || kTiles == 16);
  if constexpr (kTiles == 4) {
    MIXGRAD_SM90A(asm volatile(
        "{\n.reg .pred p;\nsetp.ne.b32 p, 0, 0;\n"
        "wgmma.mma_async.sync.aligned.m64n32k16.f32.bf16.bf16 {" MIXGRAD_R16 "}, %16, %17, p, 1, 1, 0, 0;\n}\n"
        : MIXGRAD_C16("=", 0)
        : "l"(a), "l"(b)));
  } else if constexpr (kTiles == 8) {
    MIXGRAD_SM90A(asm volatile(
        "{\n.reg .pred p;\nsetp.ne.b32 p, 0, 0;\n"
        "wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 {" MIXGRAD_R32 "}, %32, %33, p, 1, 1, 0, 0;\n}\n"
        : MIXGRAD_C32("=", 0)
        : "l"(a), "l"(b)));
  } else {
    MIXGRAD_SM90A(asm volatile(
        "{\n.reg .pred p;\nsetp.ne.b32 p, 0, 0;\n"
        "wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 {" MIXGRAD_R64 "}, %64, %65, p, 1, 1, 0, 0;\n}\n"
        : MIXGRAD_C32("=", 0), MIXGRAD_C32("=", 8)
        : "l"(a), "l"(b)));
  }
}
template <int kTiles>
__device__ void multiply_add(float (&c)[kTiles][4], std::uint64_t a, std::uint64_t b) {
  static_assert(kTiles == 4 || kTiles == 8 || kTiles == 16);
  if constexpr (kTiles == 4) {
    MIXGRAD_SM90A(asm volatile(
        "{\n.reg .pred p;\nsetp.eq.b32 p, 0, 0;\n"
        "wgmma.mma_async.sync.aligned.m64n32k16.f32.bf16.bf16 {" MIXGRAD_R16 "}, %16, %17, p, 1, 1, 0, 0;\n}\n"
        : MIXGRAD_C16("+", 0)
        : "l"(a), "l"(b)));
  } else if constexpr (kTiles == 8) {
    MIXGRAD_SM90A(asm volatile(
        "{\n.reg .pred p;\nsetp.eq.b32 p, 0, 0;\n"
        "wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 {" MIXGRAD_R32 "}, %32, %33, p, 1, 1, 0, 0;\n}\n"
        : MIXGRAD_C32("+", 0)
        : "l"(a), "l"(b)));
  } else {
    MIXGRAD_SM90A(asm volatile(
        "{\n.reg .pred p;\nsetp.eq.b32 p, 0, 0;\n"
        "wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 {" MIXGRAD_R64 "}, %64, %65, p, 1, 1, 0, 0;\n}\n"
        : MIXGRAD_C32("+", 0), MIXGRAD_C32("+", 8)
        : "l"(a), "l"(b)));
  }
}

// The same with a in registers (the fragment of mma.m16n8k16 of each warp) and b by its 16 rows ("transposed").
template <int kTiles>
__device__ void multiply_rows(float (&c)[kTiles][4], const unsigned (&a)[4], std::uint64_t b) {
  static_assert(kTiles == 8 || kTiles == 16);
  if constexpr (kTiles == 8) {
    MIXGRAD_SM90A(
        asm volatile("{\n.reg .pred p;\nsetp.eq.b32 p, 0, 0;\n"
                     "wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 {" MIXGRAD_R32
                     "}, {%32,%33,%34,%35}, %36, p, 1, 1, 1;\n}\n"
                     : MIXGRAD_C32("+", 0)
                     : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b)));
  } else {
    MIXGRAD_SM90A(
        asm volatile("{\n.reg .pred p;\nsetp.eq.b32 p, 0, 0;\n"
                     "wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 {" MIXGRAD_R64
                     "}, {%64,%65,%66,%67}, %68, p, 1, 1, 1;\n}\n"
                     : MIXGRAD_C32("+", 0), MIXGRAD_C32("+", 8)
                     : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b)));
  }
}

}  // namespace mixgrad::cuda::warpgroup
