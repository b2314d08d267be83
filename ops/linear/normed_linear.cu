// normed_linear.h on CUDA. Each block norms the rows into shared memory, from where the products of matvec.cuh read
// them; the weights travel into registers meanwhile. With the norm of a row by one warp a kernel had 168 registers a
// thread, so that one block ran on a multiprocessor: 11.5 us instead of about 4 for the qkv product of GPT-2 124M
// (2,304 x 768).
#include <algorithm>

#include "core/context.h"
#include "core/cuda/hardware_float.cuh"
#include "ops/elementwise/functions.h"
#include "ops/linear/linear_kernels.h"
#include "ops/matmul/matvec.cuh"
#include "ops/matmul/matvec_cuda.h"
#include "ops/norm/block_norm.cuh"
#include "ops/rope/rope_kernels.h"

namespace mixgrad::cuda {
namespace {

using namespace vec;

constexpr int kMultiprocessors = 132;  // of an H100 or H200; decides no bit

// Blocks that run on a multiprocessor side by side.
constexpr int normed_blocks(int rows, int columns) {
  if (rows * columns == 1) return 4;
  if (rows == 1 && columns == 2) return 3;
  return rows * columns <= 8 ? 2 : 1;
}

// X: type of x and the sum; T: of y, the weights and the result.
template <class X, class T>
struct NormedVectors {
  NormArguments<X, T> norm;
  const Chunk<T>* weight[2];  // the second with swiglu: of the gate; else of the columns from `first_n` on
  const T* bias[2];           // or null
  T* result;
  int m, n, first_n, chunks;
  bool gelu, at_rest;

  const acc_t<T>* angles;  // [positions, pairs, 2], with rope
  TokenPosition position;
  int pairs, rotated_heads;
};

// Which columns of the result a warp computes together.
enum class Together { neighbours, pairs_of_rope, gate_and_up };

// Column j of the columns that group g of warps computes.
template <Together kTogether, int kColumns>
__device__ int column(int g, int j, int pairs) {
  if constexpr (kTogether == Together::pairs_of_rope) return g / pairs * 2 * pairs + g % pairs + j * pairs;
  if constexpr (kTogether == Together::gate_and_up) return g;
  return g * kColumns + j;
}

// The results of a row in the columns that belong together, from their sums with the biases.
template <Together kTogether, class X, class T, int kColumns>
__device__ void finish(const NormedVectors<X, T>& p, int g, int r, acc_t<T> (&values)[kColumns]) {
  using A = acc_t<T>;
  T* to = p.result + static_cast<std::int64_t>(r) * p.n;
  if constexpr (kTogether == Together::pairs_of_rope) {
    const int low = column<kTogether, kColumns>(g, 0, p.pairs);
    A a = A(static_cast<T>(values[0]));
    A b = A(static_cast<T>(values[1]));
    if (g / p.pairs < p.rotated_heads) {
      const A* angle = p.angles + (p.position.value() * p.pairs + g % p.pairs) * 2;
      const A cosine = angle[0];
      const A sine = angle[1];
      const A first = a * cosine - b * sine;
      b = b * cosine + a * sine;
      a = first;
    }
    to[low] = static_cast<T>(a);
    to[low + p.pairs] = static_cast<T>(b);
  } else if constexpr (kTogether == Together::gate_and_up) {
    const T gate = static_cast<T>(values[1]);
    to[g] = static_cast<T>(A(functions::Silu::f(function_t<T>(gate))) * A(static_cast<T>(values[0])));
  } else {
#pragma unroll
    for (int j = 0; j < kColumns; ++j) {
      const int c = g * kColumns + j;
      if (c >= p.n) continue;
      const T value = static_cast<T>(values[j]);
      to[c] = p.gelu ? static_cast<T>(A(functions::Gelu::f(function_t<T>(value)))) : value;
    }
  }
}

// A block norms the rows once and goes through its groups of columns.
template <Together kTogether, class X, class T, int kRows, int kColumns, int kSlices>
__global__ void __launch_bounds__(kVecThreads, normed_blocks(kRows, kColumns)) normed_kernel(NormedVectors<X, T> p) {
  using A = acc_t<T>;
  using At = Warps<kSlices>;
  constexpr int kSize = kUnit<X, T>;
  constexpr bool kPair = kTogether != Together::neighbours;
  const int groups = kTogether == Together::gate_and_up ? p.n : (p.n + kColumns - 1) / kColumns;
  const int step = static_cast<int>(gridDim.x) * At::kGroups;
  int g = static_cast<int>(blockIdx.x) * At::kGroups + At::group();
  Weights<T, kColumns, kSlices> weights;
  weights.chunks = p.chunks;
  const auto aim = [&](int group) {
    const int served = group < groups ? group : groups - 1;
#pragma unroll
    for (int j = 0; j < kColumns; ++j) {
      const int c = column<kTogether, kColumns>(served, j, p.pairs);
      const int there = kPair || c < p.n ? c : p.n - 1;
      if constexpr (kTogether == Together::gate_and_up) {
        weights.rows[j] = p.weight[j] + static_cast<std::int64_t>(there) * p.chunks;
      } else {
        const bool more = there >= p.first_n;
        weights.rows[j] =
            p.weight[more ? 1 : 0] + static_cast<std::int64_t>(more ? there - p.first_n : there) * p.chunks;
      }
    }
  };
  aim(g);
  BlockNorm<X, T, kRows, kVecThreads> norms;
  if (p.at_rest) {
    norms.load_parameters(p.norm);
    weights.load(weights.first());
  } else {
    weights.fetch();
  }
  wait_for_previous();
  auto* rows = shared<Chunk<T>>();  // [m, chunks]
  if (!p.at_rest) {
    norms.load_parameters(p.norm);
    weights.load(weights.first());
  }
  auto* units = reinterpret_cast<Unit<T, kSize>*>(rows);
  norms.compute(p.norm, blockIdx.x == 0,
                [&](int r, int c, const Unit<T, kSize>& unit) { units[r * p.norm.units + c] = unit; });
  __syncthreads();
  // Every thread of a block makes as many rounds: they meet in join().
  for (int first = static_cast<int>(blockIdx.x) * At::kGroups; first < groups; first += step, g += step) {
    if (kSlices > 1 && first >= step) __syncthreads();  // the round before has read what join() shares
    A sums[kRows][kColumns] = {};
    weights.multiply(sums, p.m, [&](int r, int c) { return rows + r * p.chunks + c; });
    if (first + step < groups) {
      aim(g + step);
      weights.load(weights.first());
    }
    if (!join<kSlices>(sums) || g >= groups) continue;
#pragma unroll
    for (int j = 0; j < kColumns; ++j) {
      const T* bias = p.bias[kTogether == Together::gate_and_up ? j : 0];
      const int c = column<kTogether, kColumns>(g, j, p.pairs);
      if (bias == nullptr || c >= p.first_n) continue;
#pragma unroll
      for (int r = 0; r < kRows; ++r) sums[r][j] += A(bias[c]);
    }
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      if (r < p.m) finish<kTogether>(p, g, r, sums[r]);
    }
  }
}

template <Together kTogether, int kColumns, int kSlices, class X, class T>
void run_rows(const NormedVectors<X, T>& p, Device device) {
  constexpr int kGroups = Warps<kSlices>::kGroups;
  const int groups = kTogether == Together::gate_and_up ? p.n : (p.n + kColumns - 1) / kColumns;
  const auto bytes = static_cast<std::size_t>(p.m * p.chunks) * sizeof(Chunk<T>);
  const auto go = [&]<int kRows>() {
    // Enough blocks for every multiprocessor, and no more than run at once: each norms the rows.
    constexpr int kMost = kMultiprocessors * normed_blocks(kRows, kColumns);
    const dim3 grid(static_cast<unsigned>(std::min((groups + kGroups - 1) / kGroups, kMost)));
    launch("linear", device, grid, kVecThreads, bytes, normed_kernel<kTogether, X, T, kRows, kColumns, kSlices>, p);
  };
  if (p.m == 1) return go.template operator()<1>();
  if (p.m == 2) return go.template operator()<2>();
  if (p.m <= 4) return go.template operator()<4>();
  go.template operator()<8>();
}

// The same slices as a product by itself, so that its sums have the same order.
template <Together kTogether, int kColumns, class X, class T>
void run_slices(const NormedVectors<X, T>& p, Device device) {
  switch (slices_for(p.n, p.chunks)) {
    case 4: return run_rows<kTogether, kColumns, 4>(p, device);
    case 2: return run_rows<kTogether, kColumns, 2>(p, device);
    default: return run_rows<kTogether, kColumns, 1>(p, device);
  }
}

template <class X, class T>
void run(const Tensor& x, const Tensor& y, const RowNorm& norm, const NormedLinear& product, const Tensor& sum,
         const Tensor& result) {
  using A = acc_t<T>;
  using Vectors = NormedVectors<X, T>;
  const auto chunks_of = [](const Tensor& w) { return w.defined() ? chunks_at(w.data<T>()) : nullptr; };
  const auto bias_of = [](const Tensor& b) -> const T* { return b.defined() ? b.data<T>() : nullptr; };
  Vectors p{.norm = NormArguments<X, T>(x, y, norm, sum),
            .weight = {chunks_of(product.weight),
                       chunks_of(product.more_weight.defined() ? product.more_weight : product.gate_weight)},
            .bias = {bias_of(product.bias), bias_of(product.gate_bias)},
            .result = result.data<T>(),
            .m = static_cast<int>(x.rows()),
            .n = static_cast<int>(result.cols()),
            .first_n = static_cast<int>(product.weight.dim(0)),
            .chunks = static_cast<int>(x.cols() / Chunk<T>::kSize),
            .gelu = product.after == AfterLinear::gelu,
            .at_rest = context().weights_at_rest,
            .angles = nullptr,
            .position = 0,
            .pairs = 1,
            .rotated_heads = 0};
  switch (product.after) {
    case AfterLinear::plain:
    case AfterLinear::gelu:
      if (is_wide(p.n)) {
        run_rows<Together::neighbours, 4, 1>(p, x.device());
      } else {
        run_slices<Together::neighbours, 1>(p, x.device());
      }
      return;
    case AfterLinear::swiglu: return run_slices<Together::gate_and_up, 2>(p, x.device());
    case AfterLinear::rope: {
      const RopeOptions& rope = product.rope;
      const Tensor angles = rope_angles(rope, rope.first_position.host + 1, dtype_of<A>(), x.device());
      p.angles = angles.data<A>();
      p.position = rope.first_position;
      p.pairs = static_cast<int>(rope.head_dim / 2);
      p.rotated_heads = static_cast<int>(rope.heads);
      return run_slices<Together::pairs_of_rope, 2>(p, x.device());
    }
  }
}

bool takes(const Tensor& x, const Tensor& y, const RowNorm& norm, const NormedLinear& product) {
  const std::int64_t rows = x.rows();
  const DType dtype = product.weight.dtype();
  if (rows < 1 || rows > kMostVectors || product.weight.dim(0) < 1 || product.weight.dim(0) > (1 << 28)) return false;
  if (!block_norm_takes(x, y, norm, dtype) ||
      !are_chunks({&product.weight, &product.gate_weight, &product.more_weight})) {
    return false;
  }
  const bool more = product.more_weight.defined();
  if (more && product.after != AfterLinear::plain && product.after != AfterLinear::rope) return false;
  if (product.after != AfterLinear::rope) return true;
  if (more && product.more_weight.dim(0) % product.rope.head_dim != 0) return false;
  // One token of each sequence, and whole heads.
  return x.shape().rank() == 3 && x.dim(1) == 1 && product.rope.rows_per_position == 1 &&
         product.weight.dim(0) % product.rope.head_dim == 0;
}

}  // namespace

bool normed_linear_forward(const Tensor& x, const Tensor& y, const RowNorm& norm, const NormedLinear& product,
                           Tensor& sum, Tensor& result) {
  if (!takes(x, y, norm, product)) return false;
  const DType dtype = product.weight.dtype();
  const std::int64_t more = product.more_weight.defined() ? product.more_weight.dim(0) : 0;
  result = Tensor::empty(x.shape().with_last(product.weight.dim(0) + more), dtype, x.device());
  if (y.defined()) sum = Tensor::empty(x.shape(), x.dtype(), x.device());
  if (dtype == DType::bf16) {
    run<float, bf16>(x, y, norm, product, sum, result);
  } else {
    run<float, float>(x, y, norm, product, sum, result);
  }
  if (!y.defined()) sum = x;
  return true;
}

}  // namespace mixgrad::cuda
