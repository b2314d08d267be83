// Loss and gradients together, with each logit computed once. For every chunk of rows:
//
//   logits = x weight^T;  in place of them dlogits = (softmax(logits) - onehot) / count, and the rows' losses on the
//   way; dx = dlogits weight;  dweight += dlogits^T x
//
// dx and dweight are those of a cotangent of 1: the backward pass multiplies by its own. How many rows a chunk has
// depends on the shape alone, so the bits do not depend on how much memory is free. In bf16 models with a large
// vocabulary the logits are stored in bf16 (statistics in f32): otherwise writing and reading them would take as long
// as a product. The reference is linear_cross_entropy.cu, where forward and backward each compute the logits.
#include <algorithm>

#include "core/cuda/launch.cuh"
#include "core/numeric/vec_math.h"
#include "ops/linear/linear_products.h"
#include "ops/linear_cross_entropy/linear_cross_entropy_blocks.h"
#include "ops/linear_cross_entropy/linear_cross_entropy_kernels.h"
#include "ops/matmul/matmul_cuda.h"

namespace mixgrad::cuda {
namespace {

constexpr const char* kOp = "linear_cross_entropy";
constexpr std::int64_t kLogitBytes = std::int64_t{512} << 20U;  // of a chunk, at most
constexpr std::int64_t kRowsMultiple = kLossRowsMultiple;
constexpr std::int64_t kSmallVocabulary = kLossSmallVocabulary;
constexpr std::int64_t kNarrowRow = kLossNarrowRow;
constexpr std::int64_t kHeldRow = kLossHeldRow;
constexpr int kFusedThreads = 512;  // of a block
constexpr int kHeldThreads = 128;   // of a block that keeps a row in registers
static_assert(kHeldRow == std::int64_t{8} * 8 * kHeldThreads && kNarrowRow == std::int64_t{8} * kHeldThreads);

// Distance between rows of logits: whole chunks of 16 bytes in every type.
std::int64_t logit_stride(std::int64_t vocabulary) { return (vocabulary + 7) / 8 * 8; }

// Rows whose logits fit. The buffer has as many, or all rows: up to a limit its size is linear in the rows, and
// `--plan` relies on that.
std::int64_t most_rows(std::int64_t row_bytes) {
  return std::max(kLogitBytes / row_bytes / kRowsMultiple * kRowsMultiple, kRowsMultiple);
}

// Equal chunks, as few as fit.
std::int64_t even_chunk(std::int64_t rows, std::int64_t most) {
  if (rows <= most) return rows;
  const std::int64_t chunks = (rows + most - 1) / most;
  const std::int64_t even = (rows + chunks - 1) / chunks;
  return std::min((even + kRowsMultiple - 1) / kRowsMultiple * kRowsMultiple, most);
}

// e^x, for gradients stored in bf16 by the hardware's unit (relative error below 1e-5 where the result counts).
template <class T, class A>
__device__ A exp_for(A x) {
  if constexpr (std::is_same_v<T, bf16>) {
    return __expf(x);
  } else {
    return exp_value(x);
  }
}

template <class T>
struct alignas(sizeof(T) * 8) Eight {
  T values[8];
};

template <class A>
struct Running {  // of the logits so far: the largest, and the sum of e^(logit - top)
  A top, sum;
};
template <class T, class A>
__device__ Running<A> join(Running<A> x, Running<A> y) {
  const A top = x.top > y.top ? x.top : y.top;
  if (top == A(-INFINITY)) return {top, A(0)};
  return {top, x.sum * exp_for<T>(x.top - top) + y.sum * exp_for<T>(y.top - top)};
}

template <class L, class T>
struct FusedRows {
  std::int64_t rows, vocabulary, stride;
  const L* logits;
  T* dlogits;  // may lie where the logits lie, when the types are the same; null where no gradient is wanted
  const std::int32_t* ids;
  const std::int32_t* count;
  acc_t<T>* losses;
};

// A team of kTeam threads, a warp or a block, works on a row; 8 logits of it at a time.
template <class L, class T, int kTeam>
__global__ void __launch_bounds__(kFusedThreads) fused_kernel(FusedRows<L, T> p) {
  using A = acc_t<T>;
  wait_for_previous();
  const std::int64_t r = static_cast<std::int64_t>(blockIdx.x) * (kFusedThreads / kTeam) + threadIdx.x / kTeam;
  const int member = static_cast<int>(threadIdx.x) % kTeam;
  if (r >= p.rows) return;  // a whole team: of several in a block each is a warp
  const L* row = p.logits + r * p.stride;
  Running<A> all{A(-INFINITY), A(0)};
#pragma unroll 4
  for (std::int64_t v = member * 8; v < p.vocabulary; v += kTeam * 8) {
    const Eight<L> eight = *reinterpret_cast<const Eight<L>*>(row + v);
    A values[8];
    A top = all.top;
#pragma unroll
    for (int e = 0; e < 8; ++e) {
      values[e] = v + e < p.vocabulary ? A(eight.values[e]) : A(-INFINITY);
      top = values[e] > top ? values[e] : top;
    }
    A sum = all.sum * exp_for<T>(all.top - top);
#pragma unroll
    for (int e = 0; e < 8; ++e) sum += exp_for<T>(values[e] - top);
    all = {top, sum};
  }
#pragma unroll
  for (int distance = kWarp / 2; distance > 0; distance /= 2) {
    all = join<T, A>(
        all, {__shfl_xor_sync(0xffffffffU, all.top, distance), __shfl_xor_sync(0xffffffffU, all.sum, distance)});
  }
  if constexpr (kTeam > kWarp) {
    __shared__ Running<A> warps[kTeam / kWarp];
    if (member % kWarp == 0) warps[member / kWarp] = all;
    __syncthreads();
    all = warps[0];
    for (int w = 1; w < kTeam / kWarp; ++w) all = join<T, A>(all, warps[w]);
  }
  const A lse = all.top + std::log(all.sum);
  const std::int32_t target = p.ids[r];
  const bool known = target >= -1 && target < p.vocabulary;
  if (member == 0) p.losses[r] = !known ? A(NAN) : (target < 0 ? A(0) : lse - A(row[target]));
  if (p.dlogits == nullptr) return;
  // Before any thread writes a gradient in place of the target's logit.
  if constexpr (kTeam > kWarp) {
    __syncthreads();
  } else {
    __syncwarp();
  }
  const A scale = target < 0 ? A(0) : A(1) / A(*p.count);
  T* to = p.dlogits + r * p.stride;
#pragma unroll 4
  for (std::int64_t v = member * 8; v < p.vocabulary; v += kTeam * 8) {
    const Eight<L> eight = *reinterpret_cast<const Eight<L>*>(row + v);
    Eight<T> result;
#pragma unroll
    for (int e = 0; e < 8; ++e) {
      const A p_e = exp_for<T>(A(eight.values[e]) - lse);
      result.values[e] = static_cast<T>(scale * (v + e == target ? p_e - A(1) : p_e));
    }
    *reinterpret_cast<Eight<T>*>(to + v) = result;
  }
}

// The same with a block for a row whose logits stay in registers, kHeld times 8 in a thread: they are read once, and
// each has one exponential. With the kernel above a row of 5,000 took three times as long.
template <class L, class T, int kHeld>
__global__ void __launch_bounds__(kHeldThreads) held_kernel(FusedRows<L, T> p) {
  using A = acc_t<T>;
  __shared__ A tops[kHeldThreads / kWarp];
  __shared__ A sums[kHeldThreads / kWarp];
  wait_for_previous();
  const std::int64_t r = blockIdx.x;
  const auto member = static_cast<int>(threadIdx.x);
  const auto vocabulary = static_cast<int>(p.vocabulary);
  const L* row = p.logits + r * p.stride;
  A values[kHeld][8];
  A top = -INFINITY;
#pragma unroll
  for (int h = 0; h < kHeld; ++h) {
    const int v = (h * kHeldThreads + member) * 8;
    const Eight<L> eight = v < vocabulary ? *reinterpret_cast<const Eight<L>*>(row + v) : Eight<L>{};
#pragma unroll
    for (int e = 0; e < 8; ++e) {
      values[h][e] = v + e < vocabulary ? A(eight.values[e]) : A(-INFINITY);
      top = values[h][e] > top ? values[h][e] : top;
    }
  }
  const std::int32_t target = p.ids[r];
  const bool known = target >= -1 && target < vocabulary;
  // Before any thread writes a gradient in place of it.
  const A of_target = member == 0 && known && target >= 0 ? A(row[target]) : A(0);
#pragma unroll
  for (int distance = kWarp / 2; distance > 0; distance /= 2) {
    top = Max::join(top, __shfl_xor_sync(0xffffffffU, top, distance));
  }
  if (member % kWarp == 0) tops[member / kWarp] = top;
  __syncthreads();
  top = tops[0];
#pragma unroll
  for (int w = 1; w < kHeldThreads / kWarp; ++w) top = Max::join(top, tops[w]);
  A sum = 0;
#pragma unroll
  for (int h = 0; h < kHeld; ++h) {
#pragma unroll
    for (int e = 0; e < 8; ++e) {
      values[h][e] = exp_for<T>(values[h][e] - top);
      sum += values[h][e];
    }
  }
#pragma unroll
  for (int distance = kWarp / 2; distance > 0; distance /= 2) sum += __shfl_xor_sync(0xffffffffU, sum, distance);
  if (member % kWarp == 0) sums[member / kWarp] = sum;
  __syncthreads();
  sum = sums[0];
#pragma unroll
  for (int w = 1; w < kHeldThreads / kWarp; ++w) sum += sums[w];
  if (member == 0) p.losses[r] = !known ? A(NAN) : (target < 0 ? A(0) : top + std::log(sum) - of_target);
  if (p.dlogits == nullptr) return;
  const A scale = target < 0 ? A(0) : A(1) / A(*p.count);
  const A share = A(1) / sum;
  T* to = p.dlogits + r * p.stride;
#pragma unroll
  for (int h = 0; h < kHeld; ++h) {
    const int v = (h * kHeldThreads + member) * 8;
    if (v >= vocabulary) continue;
    Eight<T> result;
#pragma unroll
    for (int e = 0; e < 8; ++e) {
      const A p_e = values[h][e] * share;
      result.values[e] = static_cast<T>(scale * (v + e == target ? p_e - A(1) : p_e));
    }
    *reinterpret_cast<Eight<T>*>(to + v) = result;
  }
}

template <class L, class T>
void launch_held(Device device, const FusedRows<L, T>& p) {
  if constexpr (!std::is_same_v<L, bf16>) {  // logits in bf16 have larger vocabularies
    const auto with = [&](auto kernel) {
      launch(kOp, device, static_cast<unsigned>(p.rows), kHeldThreads, 0, kernel, p);
    };
    switch ((p.vocabulary + 8 * kHeldThreads - 1) / (8 * kHeldThreads)) {
      case 2: return with(held_kernel<L, T, 2>);
      case 3: return with(held_kernel<L, T, 3>);
      case 4: return with(held_kernel<L, T, 4>);
      case 5: return with(held_kernel<L, T, 5>);
      case 6: return with(held_kernel<L, T, 6>);
      case 7: return with(held_kernel<L, T, 7>);
      default: return with(held_kernel<L, T, 8>);
    }
  }
}

template <class L, class T>
void fused(Device device, const FusedRows<L, T>& p) {
  if (p.vocabulary <= kNarrowRow) {
    constexpr int kTeams = kFusedThreads / kWarp;
    launch(kOp, device, static_cast<unsigned>((p.rows + kTeams - 1) / kTeams), kFusedThreads, 0,
           fused_kernel<L, T, kWarp>, p);
  } else if (!std::is_same_v<L, bf16> && p.vocabulary <= kHeldRow) {
    launch_held(device, p);
  } else {
    launch(kOp, device, static_cast<unsigned>(p.rows), kFusedThreads, 0, fused_kernel<L, T, kFusedThreads>, p);
  }
}

void count_targets(const Tensor& targets, const Tensor& count) {
  const std::int32_t* ids = targets.data<std::int32_t>();
  std::int32_t* to = count.data<std::int32_t>();
  const std::int64_t rows = targets.numel();
  for_each_row(kOp, targets.device(), 1, [=] __device__(std::int64_t) {
    std::int32_t live = 0;
#pragma unroll 8
    for (std::int64_t r = threadIdx.x; r < rows; r += kRowThreads) live += ids[r] >= 0 ? 1 : 0;
    live = block_sum(live);
    if (threadIdx.x == 0) *to = live;
  });
}

template <class A>
void mean_loss(Device device, std::int64_t rows, const A* losses, const std::int32_t* count, A* to) {
  for_each_row(kOp, device, 1, [=] __device__(std::int64_t) {
    double sum = 0;
#pragma unroll 8
    for (std::int64_t r = threadIdx.x; r < rows; r += kRowThreads) sum += static_cast<double>(losses[r]);
    sum = block_sum(sum);
    // NaN of a target outside the vocabulary stays NaN, also where no row counts.
    if (threadIdx.x == 0) *to = static_cast<A>(*count == 0 && sum == 0 ? 0.0 : sum / static_cast<double>(*count));
  });
}

template <class T, class L>
void run(std::int64_t chunk, const Tensor& x, const Tensor& weight, const Tensor& targets, const Tensor& loss,
         const Tensor& dx, const Tensor& dweight) {
  using A = acc_t<T>;
  const Device device = x.device();
  const std::int64_t rows = x.rows();
  const std::int64_t vocabulary = weight.dim(0);
  const std::int64_t stride = logit_stride(vocabulary);
  const std::int64_t most = chunk > 0 ? chunk : most_rows(stride * static_cast<std::int64_t>(sizeof(L)));
  chunk = even_chunk(rows, most);
  const Tensor count = Tensor::empty({1}, DType::i32, device);
  const Tensor losses = Tensor::empty({rows}, dtype_of<A>(), device);
  const Tensor logits = Tensor::empty({std::min(most, rows), stride}, dtype_of<L>(), device);
  const bool wanted = dx.defined() || dweight.defined();
  const Tensor rounded =
      std::is_same_v<L, T> || !wanted ? logits : Tensor::empty(logits.shape(), dtype_of<T>(), device);
  count_targets(targets, count);
  for (std::int64_t first = 0; first < rows; first += chunk) {
    const std::int64_t here = std::min(chunk, rows - first);
    const Rows<T> in = Rows<T>(x).part(first, here);
    matmul(linear_product(in, Rows<T>(weight), Rows<L>(logits.data<L>(), here, vocabulary, stride)), device);
    fused<L, T>(device, {here, vocabulary, stride, logits.data<L>(), wanted ? rounded.data<T>() : nullptr,
                         targets.data<std::int32_t>() + first, count.data<std::int32_t>(), losses.data<A>() + first});
    if (!wanted) continue;
    const Rows<T> dlogits(rounded.data<T>(), here, vocabulary, stride);
    if (dx.defined()) {
      matmul(linear_dx_product(dlogits, Rows<T>(weight), Rows<T>(dx).part(first, here), false), device);
    }
    if (dweight.defined()) {
      matmul(linear_dweight_product(dlogits, in, Rows<A>(dweight), first > 0), device);
    }
  }
  mean_loss<A>(device, rows, losses.data<A>(), count.data<std::int32_t>(), loss.data<A>());
}

template <class T>
void scale_rows(const Tensor& gradient, const Tensor& dloss, const GradTarget& target) {
  using A = acc_t<T>;
  const A* factor = dloss.data<A>();
  const bool add = target.add;
  const auto scaled = [=] __device__(T from, T to) {
    const A value = *factor * A(from);
    return static_cast<T>(add ? A(to) + value : value);
  };
  if (are_chunks({&gradient, &target.tensor})) {
    const auto* from = reinterpret_cast<const Chunk<T>*>(gradient.data<T>());
    auto* to = reinterpret_cast<Chunk<T>*>(target.tensor.data<T>());
    for_each(kOp, gradient.device(), gradient.numel() / Chunk<T>::kSize, [=] __device__(std::int64_t i) {
      const Chunk<T> in = from[i];
      Chunk<T> out = add ? to[i] : Chunk<T>{};
#pragma unroll
      for (int e = 0; e < Chunk<T>::kSize; ++e) out.values[e] = scaled(in.values[e], out.values[e]);
      to[i] = out;
    });
    return;
  }
  const Rows<T> from(gradient);
  const Rows<T> to(target.tensor);
  for_each_cell(kOp, gradient.device(), from.count, from.width,
                [=] __device__(std::int64_t r, std::int64_t c) { to[r][c] = scaled(from[r][c], to[r][c]); });
}

}  // namespace

void linear_cross_entropy_fused(std::int64_t chunk_rows, const Tensor& x, const Tensor& weight, const Tensor& targets,
                                const Tensor& loss, const Tensor& dx, const Tensor& dweight) {
  dispatch_float(x.dtype(), kOp, [&]<class T>() {
    if constexpr (std::is_same_v<T, bf16>) {
      if (weight.dim(0) > kSmallVocabulary) {
        return run<bf16, bf16>(chunk_rows, x, weight, targets, loss, dx, dweight);
      }
    }
    run<T, acc_t<T>>(chunk_rows, x, weight, targets, loss, dx, dweight);
  });
}

void linear_cross_entropy_fused(const Tensor& x, const Tensor& weight, const Tensor& targets, const Tensor& loss,
                                const Tensor& dx, const Tensor& dweight) {
  linear_cross_entropy_fused(0, x, weight, targets, loss, dx, dweight);
}

void linear_cross_entropy_scale(const Tensor& gradient, const Tensor& dloss, const GradTarget& target) {
  dispatch_float(gradient.dtype(), kOp, [&]<class T>() { scale_rows<T>(gradient, dloss, target); });
}

}  // namespace mixgrad::cuda
