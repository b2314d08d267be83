#include <cmath>

#include "ops/layer_norm/layer_norm_kernels.h"
#include "ops/norm/norm.h"
#include "ops/support/row_tasks.h"

namespace mixgrad::cpu {

void layer_norm_forward(const Tensor& x, const Tensor& y, const Tensor& weight, const Tensor& bias, double eps,
                        const Tensor& sum, const Tensor& normed, const Tensor& mean, const Tensor& inv_std) {
  dispatch_norm(x, normed, "layer_norm", [&]<class X, class T>() {
    using A = acc_t<T>;
    const Rows<X> in(x);
    const Rows<T> addend(y);
    const Rows<X> total(sum);
    const Rows<T> out(normed);
    const A* w = weight.data<A>();
    const A* shift = bias.defined() ? bias.data<A>() : nullptr;
    A* means = mean.data<A>();
    A* inv_stds = inv_std.data<A>();
    const std::int64_t width = in.width;
    parallel_rows(in.count, rows_per_task(width), [&](std::int64_t begin, std::int64_t end, std::int64_t) {
      for (std::int64_t r = begin; r < end; ++r) {
        const X* row = row_to_norm(in, addend, total, r, 0, 1);
        A s = 0;
#pragma omp simd reduction(+ : s)
        for (std::int64_t c = 0; c < width; ++c) s += A(row[c]);
        const A mu = s / A(width);
        A squares = 0;
#pragma omp simd reduction(+ : squares)
        for (std::int64_t c = 0; c < width; ++c) squares += (A(row[c]) - mu) * (A(row[c]) - mu);
        const A inverse = A(1) / std::sqrt(squares / A(width) + A(eps));
        means[r] = mu;
        inv_stds[r] = inverse;
        T* to = out[r];
        if (shift != nullptr) {
          for (std::int64_t c = 0; c < width; ++c) {
            to[c] = static_cast<T>((A(row[c]) - mu) * inverse * w[c] + shift[c]);
          }
        } else {
          for (std::int64_t c = 0; c < width; ++c) to[c] = static_cast<T>((A(row[c]) - mu) * inverse * w[c]);
        }
      }
    });
  });
}

namespace {

// One row of d (+)= dsum + inv_std (g - mean(g) - xhat mean(g xhat)); the same into `other` where that is not null.
template <class X, class T, class A>
void gradient_row(const X* row, const A* w, const T* up, const X* residual, A mu, A inverse, std::int64_t width,
                  bool add, X* to, bool add_other, T* other) {
  A sum_g = 0;
  A sum_gx = 0;
#pragma omp simd reduction(+ : sum_g, sum_gx)
  for (std::int64_t c = 0; c < width; ++c) {
    const A g = A(up[c]) * w[c];
    sum_g += g;
    sum_gx += g * (A(row[c]) - mu);
  }
  const A mean_g = sum_g / A(width);
  const A slope = sum_gx * inverse * inverse / A(width);
  for (std::int64_t c = 0; c < width; ++c) {
    A value = inverse * (A(up[c]) * w[c] - mean_g - (A(row[c]) - mu) * slope);
    if (residual != nullptr) value += A(residual[c]);
    if (other != nullptr) put(other[c], add_other, value);
    if (add) value += A(to[c]);
    to[c] = static_cast<X>(value);
  }
}

}  // namespace

void layer_norm_backward(const Tensor& x, const Tensor& weight, const Tensor& mean, const Tensor& inv_std,
                         const Tensor& dnormed, const Tensor& dsum, const GradTarget& d, const GradTarget& dy,
                         const GradTarget& dweight, const GradTarget& dbias) {
  dispatch_norm(x, dnormed, "layer_norm", [&]<class X, class T>() {
    using A = acc_t<T>;
    const Rows<X> in(x);
    const Rows<T> up(dnormed);
    const Rows<X> residual(dsum);
    const Rows<X> out(d.tensor);
    const Rows<T> other(dy.tensor);
    const A* w = weight.data<A>();
    const A* means = mean.data<A>();
    const A* inv_stds = inv_std.data<A>();
    A* dw = dweight.tensor.defined() ? dweight.tensor.data<A>() : nullptr;
    A* db = dbias.tensor.defined() ? dbias.tensor.data<A>() : nullptr;
    const std::int64_t width = in.width;
    // One pass over the rows: the input gradient, and the two column sums side by side in sums[0,D) and sums[D,2D).
    ordered_column_sums<A>(
        in.count, 2 * width, rows_per_task(width),
        [&](std::int64_t begin, std::int64_t end, A* sums) {
          for (std::int64_t r = begin; r < end; ++r) {
            const X* row = in[r];
            const T* g = up[r];
            if (out) {
              gradient_row<X, T, A>(row, w, g, residual ? residual[r] : nullptr, means[r], inv_stds[r], width, d.add,
                                    out[r], dy.add, other ? other[r] : nullptr);
            }
            const A mu = means[r];
            const A inverse = inv_stds[r];
            A* sum_weight = sums;
            A* sum_bias = sums + width;
#pragma omp simd
            for (std::int64_t c = 0; c < width; ++c) {
              sum_weight[c] += A(g[c]) * ((A(row[c]) - mu) * inverse);
              sum_bias[c] += A(g[c]);
            }
          }
        },
        [&](std::int64_t c, A total) {
          const bool is_weight = c < width;
          A* to = is_weight ? dw : db;
          if (to == nullptr) return;
          put(to[is_weight ? c : c - width], is_weight ? dweight.add : dbias.add, total);
        });
  });
}

}  // namespace mixgrad::cpu
