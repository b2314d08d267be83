#include "core/cuda/launch.cuh"
#include "ops/norm/inverse_deviation.h"
#include "ops/norm/norm.h"
#include "ops/norm/norm_rows.cuh"
#include "ops/rms_norm/rms_norm_kernels.h"

namespace mixgrad::cuda {
namespace {

// One block per row.
template <class X, class T>
void forward(const Tensor& x, const Tensor& y, const Tensor& weight, double eps, const Tensor& sum,
             const Tensor& normed, const Tensor& inv_rms) {
  if (fit_warps<T>(x.cols(), {&x, &y, &weight, &sum, &normed})) {
    return norm_rows<false, X, T>("rms_norm", x, y, weight, {}, eps, sum, normed, {}, inv_rms);
  }
  using A = acc_t<T>;
  const Rows<X> in(x);
  const Rows<T> addend(y);
  const Rows<X> total(sum);
  const Rows<T> out(normed);
  const A* w = weight.data<A>();
  A* inverses = inv_rms.data<A>();
  const A epsilon = A(eps);
  for_each_row("rms_norm", x.device(), in.count, [=] __device__(std::int64_t r) {
    const std::int64_t width = in.width;
    const X* row = row_to_norm(in, addend, total, r, threadIdx.x, kRowThreads);
    A squares = 0;
    for (std::int64_t c = threadIdx.x; c < width; c += kRowThreads) squares += A(row[c]) * A(row[c]);
    const A inverse = inverse_deviation(block_sum(squares) / A(width) + epsilon);
    if (threadIdx.x == 0) inverses[r] = inverse;
    for (std::int64_t c = threadIdx.x; c < width; c += kRowThreads) {
      out[r][c] = static_cast<T>(A(row[c]) * inverse * w[c]);
    }
  });
}

template <class X, class T>
void backward_x(const Tensor& x, const Tensor& weight, const Tensor& inv_rms, const Tensor& dnormed, const Tensor& dsum,
                const GradTarget& d, const GradTarget& dy) {
  using A = acc_t<T>;
  const Rows<X> in(x);
  const Rows<T> up(dnormed);
  const Rows<X> residual(dsum);
  const Target<X> out(d.tensor, d.add);
  const Target<T> other(dy.tensor, dy.add);
  const A* w = weight.data<A>();
  const A* inverses = inv_rms.data<A>();
  for_each_row("rms_norm", x.device(), in.count, [=] __device__(std::int64_t r) {
    const std::int64_t width = in.width;
    const A inverse = inverses[r];
    A sum_gx = 0;
    for (std::int64_t c = threadIdx.x; c < width; c += kRowThreads) sum_gx += A(up[r][c]) * w[c] * A(in[r][c]);
    const A slope = block_sum(sum_gx) * inverse * inverse / A(width);
    for (std::int64_t c = threadIdx.x; c < width; c += kRowThreads) {
      A value = inverse * (A(up[r][c]) * w[c] - A(in[r][c]) * slope);
      if (residual) value += A(residual[r][c]);
      out.put(r, c, value);
      if (other) other.put(r, c, value);
    }
  });
}

template <class X, class T>
void backward_weight(const Tensor& x, const Tensor& inv_rms, const Tensor& dnormed, const GradTarget& dweight) {
  using A = acc_t<T>;
  const Rows<X> in(x);
  const Rows<T> up(dnormed);
  const A* inverses = inv_rms.data<A>();
  A* to = dweight.tensor.data<A>();
  const bool add = dweight.add;
  column_sums<A>(
      "rms_norm", x.device(), in.count, in.width,
      [=] __device__(std::int64_t r, std::int64_t c) { return A(up[r][c]) * (A(in[r][c]) * inverses[r]); },
      [=] __device__(std::int64_t c, A sum) { to[c] = add ? to[c] + sum : sum; });
}

}  // namespace

void rms_norm_forward(const Tensor& x, const Tensor& y, const Tensor& weight, double eps, const Tensor& sum,
                      const Tensor& normed, const Tensor& inv_rms) {
  dispatch_norm(x, normed, "rms_norm",
                [&]<class X, class T>() { forward<X, T>(x, y, weight, eps, sum, normed, inv_rms); });
}

void rms_norm_backward(const Tensor& x, const Tensor& weight, const Tensor& inv_rms, const Tensor& dnormed,
                       const Tensor& dsum, const GradTarget& d, const GradTarget& dy, const GradTarget& dweight) {
  dispatch_norm(x, dnormed, "rms_norm", [&]<class X, class T>() {
    if (fit_warps<T>(x.cols(), {&x, &weight, &dnormed, &dsum, &d.tensor, &dy.tensor})) {
      return norm_rows_gradient<false, X, T>("rms_norm", x, weight, {}, inv_rms, dnormed, dsum, d, dy, dweight, {});
    }
    if (d.tensor.defined()) backward_x<X, T>(x, weight, inv_rms, dnormed, dsum, d, dy);
    if (dweight.tensor.defined()) backward_weight<X, T>(x, inv_rms, dnormed, dweight);
  });
}

}  // namespace mixgrad::cuda
