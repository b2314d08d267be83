#include "core/cuda_launch.cuh"
#include "ops/rope/rope_kernels.h"

namespace mixgrad::cuda {
namespace {

// One thread per pair, and per channel that is not turned. Angles are computed in f64 each time, as the table of the
// CPU is.
template <class T>
void rotate(const Tensor& x, const RopeOptions& options, bool inverse, const GradTarget& y) {
  using A = acc_t<T>;
  const Rows<T> in(x);
  const Target<T> out(y.tensor, y.add);
  const std::int64_t steps = x.dim(1);
  const std::int64_t pairs = options.head_dim / 2;
  const std::int64_t all_pairs = options.heads * pairs;
  const std::int64_t rest = in.width - 2 * all_pairs;
  const std::int64_t first_position = options.first_position;
  const std::int64_t repeat = options.rows_per_position;
  const double theta = options.theta;
  const A sign = inverse ? A(-1) : A(1);
  for_each("rope", x.device(), in.count * (all_pairs + rest), [=] __device__(std::int64_t item) {
    const std::int64_t r = item / (all_pairs + rest);
    const std::int64_t p = item % (all_pairs + rest);
    if (p >= all_pairs) {
      const std::int64_t c = all_pairs + p;
      out.put(r, c, A(in[r][c]));
      return;
    }
    const std::int64_t i = p % pairs;
    const std::int64_t low = p / pairs * 2 * pairs + i;
    const double angle = static_cast<double>(first_position + r % steps / repeat) *
                         pow(theta, -2.0 * static_cast<double>(i) / static_cast<double>(2 * pairs));
    double sine = 0;
    double cosine = 0;
    sincos(angle, &sine, &cosine);
    const A turn = sign * A(sine);
    const A a = A(in[r][low]);
    const A b = A(in[r][low + pairs]);
    out.put(r, low, a * A(cosine) - b * turn);
    out.put(r, low + pairs, b * A(cosine) + a * turn);
  });
}

}  // namespace

void rope_rotate(const Tensor& x, const RopeOptions& options, bool inverse, const GradTarget& y) {
  dispatch_float(x.dtype(), "rope", [&]<class T>() { rotate<T>(x, options, inverse, y); });
}

}  // namespace mixgrad::cuda
