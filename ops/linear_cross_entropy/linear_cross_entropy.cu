#include "core/cuda/launch.cuh"
#include "core/numeric/vec_math.h"
#include "ops/linear/linear_products.h"
#include "ops/linear_cross_entropy/linear_cross_entropy_kernels.h"
#include "ops/matmul/matmul_cuda.h"
#include "ops/support/target_mean.cuh"

namespace mixgrad::cuda {
namespace {

// Rows whose logits exist at the same time: about 64 MiB of them, by shape only.
std::int64_t chunk_rows(std::int64_t rows, std::int64_t vocabulary) {
  const std::int64_t fitting = (std::int64_t{1} << 24U) / vocabulary;
  return rows < 64 ? rows : (fitting < 64 ? 64 : (fitting < rows ? fitting : rows));
}

// Distance between rows of logits: aligned, or tensor cores cannot read an odd vocabulary's.
std::int64_t logit_stride(std::int64_t vocabulary) { return (vocabulary + 7) / 8 * 8; }

// logits[0,rows) = x[first,first+rows) weight^T, in the accumulation type.
template <class T>
void chunk_logits(const Tensor& x, const Tensor& weight, std::int64_t first, std::int64_t rows, acc_t<T>* logits) {
  const Rows<acc_t<T>> to(logits, rows, weight.dim(0), logit_stride(weight.dim(0)));
  matmul(linear_product(Rows<T>(x).part(first, rows), Rows<T>(weight), to), x.device());
}

// lses[r] and losses[r] of the rows of a chunk, whose pointers begin at the chunk.
template <class A>
void chunk_losses(Device device, std::int64_t rows, std::int64_t vocabulary, const A* logits, const std::int32_t* ids,
                  A* lses, A* losses) {
  const std::int64_t stride = logit_stride(vocabulary);
  for_each_row("linear_cross_entropy", device, rows, [=] __device__(std::int64_t r) {
    const A* row = logits + r * stride;
    A top = row[0];
    for (std::int64_t v = threadIdx.x; v < vocabulary; v += kRowThreads) top = row[v] > top ? row[v] : top;
    top = block_max(top);
    A sum = 0;
    for (std::int64_t v = threadIdx.x; v < vocabulary; v += kRowThreads) sum += exp_value(row[v] - top);
    const A lse = top + std::log(block_sum(sum));
    if (threadIdx.x != 0) return;
    lses[r] = lse;
    const bool known = ids[r] >= -1 && ids[r] < vocabulary;
    losses[r] = !known ? A(NAN) : (ids[r] < 0 ? A(0) : lse - row[ids[r]]);
  });
}

template <class T>
void forward(const Tensor& x, const Tensor& weight, const Tensor& targets, const Tensor& count, const Tensor& lse,
             const Tensor& loss) {
  using A = acc_t<T>;
  const std::int64_t rows = x.rows();
  const std::int64_t vocabulary = weight.dim(0);
  const std::int64_t chunk = chunk_rows(rows, vocabulary);
  const Tensor scratch = Tensor::empty({chunk, logit_stride(vocabulary)}, dtype_of<A>(), x.device());
  const Tensor row_loss = Tensor::empty({rows}, dtype_of<A>(), x.device());
  A* logits = scratch.data<A>();
  const A* losses = row_loss.data<A>();
  for (std::int64_t first = 0; first < rows; first += chunk) {
    const std::int64_t here = rows - first < chunk ? rows - first : chunk;
    chunk_logits<T>(x, weight, first, here, logits);
    chunk_losses<A>(x.device(), here, vocabulary, logits, targets.data<std::int32_t>() + first, lse.data<A>() + first,
                    row_loss.data<A>() + first);
  }
  mean_of_target_rows<A>("linear_cross_entropy", x.device(), rows, losses, targets.data<std::int32_t>(), loss.data<A>(),
                         count.data<std::int32_t>());
}

// dlogits = scale (softmax(logits) - onehot), 0 in rows without a target; pointers begin at the chunk.
template <class T>
void chunk_gradient(Device device, std::int64_t rows, std::int64_t vocabulary, const std::int32_t* count,
                    const acc_t<T>* logits, const std::int32_t* ids, const acc_t<T>* lses, const acc_t<T>* dloss,
                    T* dlogits) {
  using A = acc_t<T>;
  const std::int64_t stride = logit_stride(vocabulary);
  for_each_row("linear_cross_entropy", device, rows, [=] __device__(std::int64_t r) {
    const std::int32_t target = ids[r];
    const A scale = *count == 0 ? A(0) : *dloss / static_cast<A>(*count);
    const A shift = lses[r];
    for (std::int64_t v = threadIdx.x; v < vocabulary; v += kRowThreads) {
      const A p = exp_value(logits[r * stride + v] - shift);
      const A value = v == target ? scale * (p - A(1)) : scale * p;
      dlogits[r * stride + v] = static_cast<T>(target < 0 ? A(0) : value);
    }
  });
}

template <class T>
void chunk_dx(const Tensor& weight, const Rows<T>& dlogits, std::int64_t first, const GradTarget& dx) {
  const Rows<T> to = Rows<T>(dx.tensor).part(first, dlogits.count);
  matmul(linear_dx_product(dlogits, Rows<T>(weight), to, dx.add), weight.device());
}

template <class T>
void chunk_dweight(const Tensor& x, const Rows<T>& dlogits, std::int64_t first, const GradTarget& dweight) {
  const bool add = dweight.add || first > 0;
  const Rows<T> from = Rows<T>(x).part(first, dlogits.count);
  matmul(linear_dweight_product(dlogits, from, Rows<acc_t<T>>(dweight.tensor), add), x.device());
}

template <class T>
void backward(const Tensor& x, const Tensor& weight, const Tensor& targets, const Tensor& count, const Tensor& lse,
              const Tensor& dloss, const GradTarget& dx, const GradTarget& dweight) {
  using A = acc_t<T>;
  const std::int64_t rows = x.rows();
  const std::int64_t vocabulary = weight.dim(0);
  const std::int64_t chunk = chunk_rows(rows, vocabulary);
  const Shape shape{chunk, logit_stride(vocabulary)};
  const Tensor scratch = Tensor::empty(shape, dtype_of<A>(), x.device());
  const Tensor rounded = std::is_same_v<T, A> ? scratch : Tensor::empty(shape, x.dtype(), x.device());
  for (std::int64_t first = 0; first < rows; first += chunk) {
    const std::int64_t here = rows - first < chunk ? rows - first : chunk;
    chunk_logits<T>(x, weight, first, here, scratch.data<A>());
    chunk_gradient<T>(x.device(), here, vocabulary, count.data<std::int32_t>(), scratch.data<A>(),
                      targets.data<std::int32_t>() + first, lse.data<A>() + first, dloss.data<A>(), rounded.data<T>());
    const Rows<T> dlogits(rounded.data<T>(), here, vocabulary, logit_stride(vocabulary));
    if (dx.tensor.defined()) chunk_dx<T>(weight, dlogits, first, dx);
    if (dweight.tensor.defined()) chunk_dweight<T>(x, dlogits, first, dweight);
  }
}

}  // namespace

void linear_cross_entropy_forward(const Tensor& x, const Tensor& weight, const Tensor& targets, const Tensor& count,
                                  const Tensor& lse, const Tensor& loss) {
  dispatch_float(x.dtype(), "linear_cross_entropy",
                 [&]<class T>() { forward<T>(x, weight, targets, count, lse, loss); });
}

void linear_cross_entropy_backward(const Tensor& x, const Tensor& weight, const Tensor& targets, const Tensor& count,
                                   const Tensor& lse, const Tensor& dloss, const GradTarget& dx,
                                   const GradTarget& dweight) {
  dispatch_float(x.dtype(), "linear_cross_entropy",
                 [&]<class T>() { backward<T>(x, weight, targets, count, lse, dloss, dx, dweight); });
}

}  // namespace mixgrad::cuda
