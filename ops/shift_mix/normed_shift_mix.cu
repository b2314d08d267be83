// A decoding step of shift mixing with the norm before it (shift_mix.h): a block for each sequence.
#include "core/context.h"
#include "ops/norm/block_norm.cuh"
#include "ops/shift_mix/shift_mix_kernels.h"

namespace mixgrad::cuda {
namespace {

constexpr int kMixThreads = 256;

template <class T>
struct MixStep {
  const T* a;
  const T* b;
  const std::int32_t* shifts;
  T* ring;
  T* result;
  int width, ring_width;
  int channels_each;  // channels that share a coefficient
  int channels;       // of a head
  bool self, at_rest;
  TokenPosition position;
};

template <class T>
__global__ void __launch_bounds__(kMixThreads) normed_mix_kernel(NormArguments<float, T> norm, MixStep<T> p) {
  using A = acc_t<T>;
  constexpr int kSize = kUnit<float, T>;
  const std::int64_t row = blockIdx.x;
  norm.skip_rows(row);
  norm.rows = 1;
  BlockNorm<float, T, 1, kMixThreads> norms;
  const int first = static_cast<int>(threadIdx.x) * kSize;
  T* slots[kSize];
  A before[kSize] = {};
  bool filled[kSize] = {};
  if (!p.at_rest) wait_for_previous();
  const std::int64_t position = p.position.value();
  norms.load_parameters(norm);
#pragma unroll
  for (int e = 0; e < kSize; ++e) {
    const int c = first + e;
    if (c >= p.width) continue;
    const int head = c / p.channels;
    std::int64_t begin = 0;  // of this head's slots
    for (int h = 0; h < head; ++h) begin += static_cast<std::int64_t>(p.shifts[h]) * p.channels;
    const std::int64_t shift = p.shifts[head];
    slots[e] = p.ring + row * p.ring_width + begin + position % shift * p.channels + c % p.channels;
    filled[e] = position >= shift;
    if (filled[e]) before[e] = A(*slots[e]);
  }
  if (p.at_rest) wait_for_previous();
  norms.compute(norm, true, [&](int, int, const Unit<T, kSize>& unit) {
    Unit<T, kSize> mixed;
#pragma unroll
    for (int e = 0; e < kSize; ++e) {
      const int c = first + e;
      const A here = A(unit.values[e]);
      const A there = filled[e] ? before[e] : (p.self ? here : A(0));
      *slots[e] = unit.values[e];
      mixed.values[e] = static_cast<T>(A(p.a[c / p.channels_each]) * here + A(p.b[c / p.channels_each]) * there);
    }
    reinterpret_cast<Unit<T, kSize>*>(p.result + row * p.width)[threadIdx.x] = mixed;
  });
}

template <class T>
void run(const Tensor& x, const Tensor& y, const RowNorm& norm, const Tensor& a, const Tensor& b, const Tensor& shifts,
         Boundary boundary, const Tensor& ring, TokenPosition position, const SumAndResult& made) {
  const MixStep<T> p{.a = a.data<T>(),
                     .b = b.data<T>(),
                     .shifts = shifts.data<std::int32_t>(),
                     .ring = ring.data<T>(),
                     .result = made.result.data<T>(),
                     .width = static_cast<int>(x.cols()),
                     .ring_width = static_cast<int>(ring.cols()),
                     .channels_each = static_cast<int>(x.cols() / a.numel()),
                     .channels = static_cast<int>(x.cols() / shifts.numel()),
                     .self = boundary == Boundary::self,
                     .at_rest = context().weights_at_rest,
                     .position = position};
  const NormArguments<float, T> arguments(x, y, norm, y.defined() ? made.sum : Tensor());
  launch("shift_mix", x.device(), static_cast<unsigned>(x.dim(0)), kMixThreads, 0, normed_mix_kernel<T>, arguments, p);
}

}  // namespace

bool normed_shift_mix_ring(const Tensor& x, const Tensor& y, const RowNorm& norm, const Tensor& a, const Tensor& b,
                           const Tensor& shifts, Boundary boundary, const Tensor& ring, TokenPosition position,
                           const SumAndResult& made) {
  if (x.dim(0) < 1 || !block_norm_takes(x, y, norm, a.dtype()) || !ring.is_contiguous()) return false;
  if (a.dtype() == DType::bf16) {
    run<bf16>(x, y, norm, a, b, shifts, boundary, ring, position, made);
  } else {
    run<float>(x, y, norm, a, b, shifts, boundary, ring, position, made);
  }
  return true;
}

}  // namespace mixgrad::cuda
