// heads_linear.h on CUDA: the product of matvec.cuh, whose rows of A lie in pieces.
#include "core/context.h"
#include "ops/linear/heads_linear.h"
#include "ops/linear/linear_kernels.h"
#include "ops/matmul/matvec.cuh"
#include "ops/matmul/matvec_cuda.h"

namespace mixgrad::cuda {
namespace {

using namespace vec;

template <class T>
struct GatheredVectors {
  struct Piece {
    const Chunk<T>* first;  // of the first sequence
    int stride;             // to the next sequence, in chunks
  };
  Piece pieces[kMostGathered];  // by slot
  int piece_chunks;
  const Chunk<T>* b;
  const T* bias;  // or null
  T* c;
  int m, n, chunks;
  bool at_rest;

  __device__ const Chunk<T>* chunk(int row, int c_of_row) const {
    const Piece& piece = pieces[c_of_row / piece_chunks];
    return piece.first + row * piece.stride + c_of_row % piece_chunks;
  }
};

template <class T, int kRows, int kSlices>
__global__ void __launch_bounds__(kVecThreads) gathered_kernel(const __grid_constant__ GatheredVectors<T> p) {
  using A = acc_t<T>;
  using At = Warps<kSlices>;
  const int column = static_cast<int>(blockIdx.x) * At::kGroups + At::group();
  Weights<T, 1, kSlices> weights;
  weights.chunks = p.chunks;
  weights.rows[0] = p.b + static_cast<std::int64_t>(column < p.n ? column : p.n - 1) * p.chunks;
  if (p.at_rest) {
    weights.load(weights.first());
  } else {
    weights.fetch();
  }
  wait_for_previous();
  if (!p.at_rest) weights.load(weights.first());
  const A bias = p.bias != nullptr && column < p.n ? A(p.bias[column]) : A(0);
  A sums[kRows][1] = {};
  weights.multiply(sums, p.m, [&](int r, int c) { return p.chunk(r, c); });
  if (!join<kSlices>(sums) || column >= p.n) return;
#pragma unroll
  for (int r = 0; r < kRows; ++r) {
    if (r < p.m) p.c[static_cast<std::int64_t>(r) * p.n + column] = static_cast<T>(sums[r][0] + bias);
  }
}

template <int kSlices, class T>
void run_rows(const GatheredVectors<T>& p, Device device) {
  constexpr int kGroups = Warps<kSlices>::kGroups;
  const dim3 grid(static_cast<unsigned>((p.n + kGroups - 1) / kGroups));
  const auto go = [&]<int kRows>() {
    launch("linear", device, grid, kVecThreads, 0, gathered_kernel<T, kRows, kSlices>, p);
  };
  if (p.m == 1) return go.template operator()<1>();
  if (p.m == 2) return go.template operator()<2>();
  if (p.m <= 4) return go.template operator()<4>();
  go.template operator()<8>();
}

template <class T>
bool run(std::span<const Tensor> parts, std::span<const std::int64_t> slots, std::int64_t head_dim,
         const Tensor& weight, const Tensor& bias, Tensor& result) {
  const std::int64_t batch = parts.front().dim(0);
  const std::int64_t outputs = weight.dim(0);
  if (batch < 1 || batch > kMostVectors || outputs < 1 || outputs >= 16384 || head_dim % Chunk<T>::kSize != 0 ||
      static_cast<std::int64_t>(slots.size()) > kMostGathered || !are_chunks({&weight})) {
    return false;
  }
  GatheredVectors<T> p{};
  p.piece_chunks = static_cast<int>(head_dim / Chunk<T>::kSize);
  std::size_t head = 0;
  for (const Tensor& part : parts) {
    if (!are_chunks({&part})) return false;
    const auto heads = static_cast<int>(part.numel() / batch / head_dim);
    for (int h = 0; h < heads; ++h) {
      p.pieces[slots[head++]] = {chunks_at(part.data<T>()) + h * p.piece_chunks, heads * p.piece_chunks};
    }
  }
  result = Tensor::empty({batch, 1, outputs}, weight.dtype(), weight.device());
  p.b = chunks_at(weight.data<T>());
  p.bias = bias.defined() ? bias.data<T>() : nullptr;
  p.c = result.data<T>();
  p.m = static_cast<int>(batch);
  p.n = static_cast<int>(outputs);
  p.chunks = static_cast<int>(weight.dim(1) / Chunk<T>::kSize);
  p.at_rest = context().weights_at_rest;
  switch (slices_for(p.n, p.chunks)) {
    case 4: run_rows<4>(p, weight.device()); break;
    case 2: run_rows<2>(p, weight.device()); break;
    default: run_rows<1>(p, weight.device()); break;
  }
  return true;
}

}  // namespace

bool heads_linear_forward(std::span<const Tensor> parts, std::span<const std::int64_t> slots, std::int64_t head_dim,
                          const Tensor& weight, const Tensor& bias, Tensor& result) {
  if (weight.dtype() == DType::bf16) return run<bf16>(parts, slots, head_dim, weight, bias, result);
  if (weight.dtype() == DType::f32) return run<float>(parts, slots, head_dim, weight, bias, result);
  return false;
}

}  // namespace mixgrad::cuda
