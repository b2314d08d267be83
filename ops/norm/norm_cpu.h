// layer_norm and rms_norm on the CPU, row by row. kCentered: layer_norm, the mean is taken off and there may be a bias;
// false: rms_norm, whose mean and bias are undefined. The arguments are those of ops/layer_norm/layer_norm_kernels.h.
#pragma once

#include <cmath>

#include "ops/norm/inverse_deviation.h"
#include "ops/norm/norm.h"
#include "ops/support/row_tasks.h"

namespace mixgrad::cpu {

template <bool kCentered, class A>
A centred(A value, A mean) {
  return kCentered ? value - mean : value;
}

template <bool kCentered>
void norm_forward(const char* op, const Tensor& x, const Tensor& y, const Tensor& weight, const Tensor& bias,
                  double eps, const Tensor& sum, const Tensor& normed, const Tensor& mean, const Tensor& inverse) {
  dispatch_norm(x, normed, op, [&]<class X, class T>() {
    using A = acc_t<T>;
    const Rows<X> in(x);
    const Rows<T> addend(y);
    const Rows<X> total(sum);
    const Rows<T> out(normed);
    const A* w = weight.data<A>();
    const A* shift = kCentered && bias.defined() ? bias.data<A>() : nullptr;
    A* means = kCentered ? mean.data<A>() : nullptr;
    A* inverses = inverse.data<A>();
    const std::int64_t width = in.width;
    parallel_rows(in.count, rows_per_task(width), [&](std::int64_t begin, std::int64_t end, std::int64_t) {
      for (std::int64_t r = begin; r < end; ++r) {
        const X* row = row_to_norm(in, addend, total, r, 0, 1);
        A mu = 0;
        if constexpr (kCentered) {
          A s = 0;
#pragma omp simd reduction(+ : s)
          for (std::int64_t c = 0; c < width; ++c) s += A(row[c]);
          mu = s / A(width);
          means[r] = mu;
        }
        A squares = 0;
#pragma omp simd reduction(+ : squares)
        for (std::int64_t c = 0; c < width; ++c) {
          const A value = centred<kCentered>(A(row[c]), mu);
          squares += value * value;
        }
        const A scale = inverse_deviation(squares / A(width) + A(eps));
        inverses[r] = scale;
        T* to = out[r];
        if (shift != nullptr) {
          for (std::int64_t c = 0; c < width; ++c) {
            to[c] = static_cast<T>(centred<kCentered>(A(row[c]), mu) * scale * w[c] + shift[c]);
          }
        } else {
          for (std::int64_t c = 0; c < width; ++c) {
            to[c] = static_cast<T>(centred<kCentered>(A(row[c]), mu) * scale * w[c]);
          }
        }
      }
    });
  });
}

// One row of d (+)= dsum + scale (g - mean(g) - xhat mean(g xhat)), the gradient of layer_norm; the same into `other`
// where that is not null.
template <class X, class T, class A>
void layer_norm_gradient_row(const X* row, const A* w, const T* up, const X* residual, A mu, A scale,
                             std::int64_t width, bool add, X* to, bool add_other, T* other) {
  A sum_g = 0;
  A sum_gx = 0;
#pragma omp simd reduction(+ : sum_g, sum_gx)
  for (std::int64_t c = 0; c < width; ++c) {
    const A g = A(up[c]) * w[c];
    sum_g += g;
    sum_gx += g * (A(row[c]) - mu);
  }
  const A mean_g = sum_g / A(width);
  const A slope = sum_gx * scale * scale / A(width);
  for (std::int64_t c = 0; c < width; ++c) {
    A value = scale * (A(up[c]) * w[c] - mean_g - (A(row[c]) - mu) * slope);
    if (residual != nullptr) value += A(residual[c]);
    if (other != nullptr) put(other[c], add_other, value);
    if (add) value += A(to[c]);
    to[c] = static_cast<X>(value);
  }
}

template <bool kCentered>
void norm_backward(const char* op, const Tensor& x, const Tensor& weight, const Tensor& mean, const Tensor& inverse,
                   const Tensor& dnormed, const Tensor& dsum, const GradTarget& d, const GradTarget& dy,
                   const GradTarget& dweight, const GradTarget& dbias) {
  dispatch_norm(x, dnormed, op, [&]<class X, class T>() {
    using A = acc_t<T>;
    const Rows<X> in(x);
    const Rows<T> up(dnormed);
    const Rows<X> residual(dsum);
    const Rows<X> out(d.tensor);
    const Rows<T> other(dy.tensor);
    const A* w = weight.data<A>();
    const A* means = kCentered ? mean.data<A>() : nullptr;
    const A* inverses = inverse.data<A>();
    A* dw = dweight.tensor.defined() ? dweight.tensor.data<A>() : nullptr;
    A* db = dbias.tensor.defined() ? dbias.tensor.data<A>() : nullptr;
    const std::int64_t width = in.width;
    // One pass over the rows: the input gradient, the column sums of dweight in sums[0,D) and, of layer_norm, those of
    // dbias in sums[D,2D).
    ordered_column_sums<A>(
        in.count, kCentered ? 2 * width : width, rows_per_task(width),
        [&](std::int64_t begin, std::int64_t end, A* sums) {
          for (std::int64_t r = begin; r < end; ++r) {
            const X* row = in[r];
            const T* g = up[r];
            const A mu = kCentered ? means[r] : A(0);
            const A scale = inverses[r];
            if (out) {
              const X* extra = residual ? residual[r] : nullptr;
              T* also = other ? other[r] : nullptr;
              if constexpr (kCentered) {
                layer_norm_gradient_row<X, T, A>(row, w, g, extra, mu, scale, width, d.add, out[r], dy.add, also);
              } else {
                // The same with means of 0, but a loop of its own: as one function with the other, GCC 12 fuses other
                // additions with their multiplications, and the bits of every run with rms_norm change.
                A sum_gx = 0;
#pragma omp simd reduction(+ : sum_gx)
                for (std::int64_t c = 0; c < width; ++c) sum_gx += A(g[c]) * w[c] * A(row[c]);
                const A slope = sum_gx * scale * scale / A(width);
                X* to = out[r];
                for (std::int64_t c = 0; c < width; ++c) {
                  A value = scale * (A(g[c]) * w[c] - A(row[c]) * slope);
                  if (extra != nullptr) value += A(extra[c]);
                  if (also != nullptr) put(also[c], dy.add, value);
                  if (d.add) value += A(to[c]);
                  to[c] = static_cast<X>(value);
                }
              }
            }
            A* sum_weight = sums;
            A* sum_bias = sums + width;
#pragma omp simd
            for (std::int64_t c = 0; c < width; ++c) {
              sum_weight[c] += A(g[c]) * (centred<kCentered>(A(row[c]), mu) * scale);
              if constexpr (kCentered) sum_bias[c] += A(g[c]);
            }
          }
        },
        [&](std::int64_t c, A total) {
          const bool is_weight = !kCentered || c < width;
          A* to = is_weight ? dw : db;
          if (to == nullptr) return;
          put(to[is_weight ? c : c - width], is_weight ? dweight.add : dbias.add, total);
        });
  });
}

}  // namespace mixgrad::cpu
