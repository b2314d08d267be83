#include <cmath>
#include <limits>

#include "core/numeric/vec_math.h"
#include "ops/linear/linear_products.h"
#include "ops/linear_cross_entropy/linear_cross_entropy_kernels.h"
#include "ops/matmul/matmul.h"
#include "ops/support/row_tasks.h"

namespace mixgrad::cpu {
namespace {

// Rows whose logits exist at the same time: about 4 MiB of them, by shape only.
std::int64_t chunk_rows(std::int64_t rows, std::int64_t vocabulary) {
  return std::min(rows, std::max<std::int64_t>(64, (std::int64_t{1} << 20U) / std::max<std::int64_t>(vocabulary, 1)));
}

template <class A>
A log_sum_exp(const A* row, std::int64_t width) {
  A top = -std::numeric_limits<A>::infinity();
#pragma omp simd reduction(max : top)
  for (std::int64_t v = 0; v < width; ++v) top = row[v] > top ? row[v] : top;
  A sum = 0;
#pragma omp simd reduction(+ : sum)
  for (std::int64_t v = 0; v < width; ++v) sum += exp_value(row[v] - top);
  return top + std::log(sum);
}

}  // namespace

void linear_cross_entropy_forward(const Tensor& x, const Tensor& weight, const Tensor& targets, const Tensor& count,
                                  const Tensor& lse, const Tensor& loss) {
  dispatch_float(x.dtype(), "linear_cross_entropy", [&]<class T>() {
    using A = acc_t<T>;
    const Rows<T> in(x);
    const Rows<T> w(weight);
    const std::int64_t rows = x.rows();
    const std::int64_t vocabulary = weight.dim(0);
    const std::int64_t chunk = chunk_rows(rows, vocabulary);
    const Tensor scratch = Tensor::empty({chunk, vocabulary}, dtype_of<A>());
    const Tensor row_loss = Tensor::empty({rows}, dtype_of<A>());
    A* logits = scratch.data<A>();
    A* losses = row_loss.data<A>();
    A* lses = lse.data<A>();
    const std::int32_t* ids = targets.data<std::int32_t>();
    for (std::int64_t first = 0; first < rows; first += chunk) {
      const std::int64_t here = std::min(chunk, rows - first);
      matmul(linear_product(in.part(first, here), w, Rows<A>(logits, here, vocabulary, vocabulary)));
      parallel_rows(here, rows_per_task(vocabulary), [&](std::int64_t begin, std::int64_t end, std::int64_t) {
        for (std::int64_t r = begin; r < end; ++r) {
          const A* row = logits + r * vocabulary;
          const std::int64_t at = first + r;
          lses[at] = log_sum_exp(row, vocabulary);
          losses[at] = ids[at] < 0 ? A(0) : lses[at] - row[ids[at]];
        }
      });
    }
    double sum = 0;
    std::int32_t live = 0;
    for (std::int64_t r = 0; r < rows; ++r) {
      sum += static_cast<double>(losses[r]);
      live += ids[r] >= 0 ? 1 : 0;
    }
    *count.data<std::int32_t>() = live;
    *loss.data<A>() = static_cast<A>(live == 0 ? 0.0 : sum / static_cast<double>(live));
  });
}

void linear_cross_entropy_backward(const Tensor& x, const Tensor& weight, const Tensor& targets, const Tensor& count,
                                   const Tensor& lse, const Tensor& dloss, const GradTarget& dx,
                                   const GradTarget& dweight) {
  dispatch_float(x.dtype(), "linear_cross_entropy", [&]<class T>() {
    using A = acc_t<T>;
    const Rows<T> in(x);
    const Rows<T> w(weight);
    const std::int64_t rows = x.rows();
    const std::int64_t vocabulary = weight.dim(0);
    const std::int64_t chunk = chunk_rows(rows, vocabulary);
    const Tensor scratch = Tensor::empty({chunk, vocabulary}, dtype_of<A>());
    const Tensor rounded = std::is_same_v<T, A> ? scratch : Tensor::empty({chunk, vocabulary}, x.dtype());
    A* logits = scratch.data<A>();
    T* dlogits = rounded.data<T>();
    const A* lses = lse.data<A>();
    const std::int32_t* ids = targets.data<std::int32_t>();
    const std::int32_t live = *count.data<std::int32_t>();
    const A scale = live == 0 ? A(0) : *dloss.data<A>() / static_cast<A>(live);
    for (std::int64_t first = 0; first < rows; first += chunk) {
      const std::int64_t here = std::min(chunk, rows - first);
      matmul(linear_product(in.part(first, here), w, Rows<A>(logits, here, vocabulary, vocabulary)));
      parallel_rows(here, rows_per_task(vocabulary), [&](std::int64_t begin, std::int64_t end, std::int64_t) {
        for (std::int64_t r = begin; r < end; ++r) {
          const A* from = logits + r * vocabulary;
          T* to = dlogits + r * vocabulary;
          const std::int32_t target = ids[first + r];
          if (target < 0) {
            std::fill_n(to, vocabulary, T(A(0)));
            continue;
          }
          const A shift = lses[first + r];
          const A hit = scale * (exp_value(from[target] - shift) - A(1));
#pragma omp simd
          for (std::int64_t v = 0; v < vocabulary; ++v) assign(to[v], scale * exp_value(from[v] - shift));
          to[target] = static_cast<T>(hit);
        }
      });
      const Rows<T> up(dlogits, here, vocabulary, vocabulary);
      if (dx.tensor.defined()) matmul(linear_dx_product(up, w, Rows<T>(dx.tensor).part(first, here), dx.add));
      if (dweight.tensor.defined()) {
        const bool add = dweight.add || first > 0;
        matmul(linear_dweight_product(up, in.part(first, here), Rows<A>(dweight.tensor), add));
      }
    }
  });
}

// Forward and backward one after the other: what --device check compares the fused kernels of a GPU with.
void linear_cross_entropy_fused(const Tensor& x, const Tensor& weight, const Tensor& targets, const Tensor& loss,
                                const Tensor& dx, const Tensor& dweight) {
  const Tensor count = Tensor::empty({1}, DType::i32);
  const Tensor lse = Tensor::empty({x.rows()}, loss.dtype());
  const Tensor one = Tensor::full({1}, loss.dtype(), 1.0);
  linear_cross_entropy_forward(x, weight, targets, count, lse, loss);
  linear_cross_entropy_backward(x, weight, targets, count, lse, one, {dx, false}, {dweight, false});
}

void linear_cross_entropy_scale(const Tensor& gradient, const Tensor& dloss, const GradTarget& target) {
  dispatch_float(gradient.dtype(), "linear_cross_entropy", [&]<class T>() {
    using A = acc_t<T>;
    const Rows<T> from(gradient);
    const Rows<T> to(target.tensor);
    const A factor = *dloss.data<A>();
    for (std::int64_t r = 0; r < from.count; ++r) {
      for (std::int64_t c = 0; c < from.width; ++c) {
        put(to[r][c], target.add, factor * A(from[r][c]));
      }
    }
  });
}

}  // namespace mixgrad::cpu
