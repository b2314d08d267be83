#include "core/cuda/launch.cuh"
#include "ops/layer_norm/layer_norm_kernels.h"
#include "ops/norm/inverse_deviation.h"
#include "ops/norm/norm.h"
#include "ops/norm/norm_rows.cuh"

namespace mixgrad::cuda {
namespace {

// One block per row.
template <class X, class T>
void forward(const Tensor& x, const Tensor& y, const Tensor& weight, const Tensor& bias, double eps, const Tensor& sum,
             const Tensor& normed, const Tensor& mean, const Tensor& inv_std) {
  if (fit_warps<T>(x.cols(), {&x, &y, &weight, &bias, &sum, &normed})) {
    return norm_rows<true, X, T>("layer_norm", x, y, weight, bias, eps, sum, normed, mean, inv_std);
  }
  using A = acc_t<T>;
  const Rows<X> in(x);
  const Rows<T> addend(y);
  const Rows<X> total(sum);
  const Rows<T> out(normed);
  const A* w = weight.data<A>();
  const A* shift = bias.defined() ? bias.data<A>() : nullptr;
  A* means = mean.data<A>();
  A* inv_stds = inv_std.data<A>();
  const A epsilon = A(eps);
  for_each_row("layer_norm", x.device(), in.count, [=] __device__(std::int64_t r) {
    const std::int64_t width = in.width;
    const X* row = row_to_norm(in, addend, total, r, threadIdx.x, kRowThreads);
    A s = 0;
    for (std::int64_t c = threadIdx.x; c < width; c += kRowThreads) s += A(row[c]);
    const A mu = block_sum(s) / A(width);
    A squares = 0;
    for (std::int64_t c = threadIdx.x; c < width; c += kRowThreads) squares += (A(row[c]) - mu) * (A(row[c]) - mu);
    const A inverse = inverse_deviation(block_sum(squares) / A(width) + epsilon);
    if (threadIdx.x == 0) {
      means[r] = mu;
      inv_stds[r] = inverse;
    }
    for (std::int64_t c = threadIdx.x; c < width; c += kRowThreads) {
      const A value = (A(row[c]) - mu) * inverse * w[c];
      out[r][c] = static_cast<T>(shift == nullptr ? value : value + shift[c]);
    }
  });
}

template <class X, class T>
void backward_x(const Tensor& x, const Tensor& weight, const Tensor& mean, const Tensor& inv_std, const Tensor& dnormed,
                const Tensor& dsum, const GradTarget& d, const GradTarget& dy) {
  using A = acc_t<T>;
  const Rows<X> in(x);
  const Rows<T> up(dnormed);
  const Rows<X> residual(dsum);
  const Target<X> out(d.tensor, d.add);
  const Target<T> other(dy.tensor, dy.add);
  const A* w = weight.data<A>();
  const A* means = mean.data<A>();
  const A* inv_stds = inv_std.data<A>();
  for_each_row("layer_norm", x.device(), in.count, [=] __device__(std::int64_t r) {
    const std::int64_t width = in.width;
    const A mu = means[r];
    const A inverse = inv_stds[r];
    A sum_g = 0;
    A sum_gx = 0;
    for (std::int64_t c = threadIdx.x; c < width; c += kRowThreads) {
      const A g = A(up[r][c]) * w[c];
      sum_g += g;
      sum_gx += g * (A(in[r][c]) - mu);
    }
    const A mean_g = block_sum(sum_g) / A(width);
    const A slope = block_sum(sum_gx) * inverse * inverse / A(width);
    for (std::int64_t c = threadIdx.x; c < width; c += kRowThreads) {
      A value = inverse * (A(up[r][c]) * w[c] - mean_g - (A(in[r][c]) - mu) * slope);
      if (residual) value += A(residual[r][c]);
      out.put(r, c, value);
      if (other) other.put(r, c, value);
    }
  });
}

template <class X, class T>
void backward_weight(const Tensor& x, const Tensor& mean, const Tensor& inv_std, const Tensor& dnormed,
                     const GradTarget& dweight) {
  using A = acc_t<T>;
  const Rows<X> in(x);
  const Rows<T> up(dnormed);
  const A* means = mean.data<A>();
  const A* inv_stds = inv_std.data<A>();
  A* to = dweight.tensor.data<A>();
  const bool add = dweight.add;
  column_sums<A>(
      "layer_norm", x.device(), in.count, in.width,
      [=] __device__(std::int64_t r, std::int64_t c) { return A(up[r][c]) * ((A(in[r][c]) - means[r]) * inv_stds[r]); },
      [=] __device__(std::int64_t c, A sum) { to[c] = add ? to[c] + sum : sum; });
}

template <class T>
void backward_bias(const Tensor& dnormed, const GradTarget& dbias) {
  using A = acc_t<T>;
  const Rows<T> up(dnormed);
  A* to = dbias.tensor.data<A>();
  const bool add = dbias.add;
  column_sums<A>(
      "layer_norm", dnormed.device(), up.count, up.width,
      [=] __device__(std::int64_t r, std::int64_t c) { return A(up[r][c]); },
      [=] __device__(std::int64_t c, A sum) { to[c] = add ? to[c] + sum : sum; });
}

}  // namespace

void layer_norm_forward(const Tensor& x, const Tensor& y, const Tensor& weight, const Tensor& bias, double eps,
                        const Tensor& sum, const Tensor& normed, const Tensor& mean, const Tensor& inv_std) {
  dispatch_norm(x, normed, "layer_norm",
                [&]<class X, class T>() { forward<X, T>(x, y, weight, bias, eps, sum, normed, mean, inv_std); });
}

void layer_norm_backward(const Tensor& x, const Tensor& weight, const Tensor& mean, const Tensor& inv_std,
                         const Tensor& dnormed, const Tensor& dsum, const GradTarget& d, const GradTarget& dy,
                         const GradTarget& dweight, const GradTarget& dbias) {
  dispatch_norm(x, dnormed, "layer_norm", [&]<class X, class T>() {
    if (fit_warps<T>(x.cols(), {&x, &weight, &dnormed, &dsum, &d.tensor, &dy.tensor})) {
      return norm_rows_gradient<true, X, T>("layer_norm", x, weight, mean, inv_std, dnormed, dsum, d, dy, dweight,
                                            dbias);
    }
    if (d.tensor.defined()) backward_x<X, T>(x, weight, mean, inv_std, dnormed, dsum, d, dy);
    if (dweight.tensor.defined()) backward_weight<X, T>(x, mean, inv_std, dnormed, dweight);
    if (dbias.tensor.defined()) backward_bias<T>(dnormed, dbias);
  });
}

}  // namespace mixgrad::cuda
