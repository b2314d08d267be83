#include <mutex>
#include <vector>

#include "core/cuda/launch.cuh"
#include "ops/rope/rope_kernels.h"

namespace mixgrad::cuda {
namespace {

// cos and sin side by side, [positions, head_dim/2, 2], computed in f64 as on the CPU. Kept for ever, since a captured
// graph may read them: one for each power of two of positions.
struct Table {
  double theta;
  std::int64_t pairs;
  Tensor angles;
};

template <class A>
Tensor new_table(double theta, std::int64_t pairs, std::int64_t positions, Device device) {
  const Tensor angles = Tensor::empty({positions, pairs, 2}, dtype_of<A>(), device);
  A* to = angles.data<A>();
  for_each("rope", device, positions * pairs, [=] __device__(std::int64_t i) {
    const auto p = static_cast<double>(i % pairs);
    const double angle = static_cast<double>(i / pairs) * pow(theta, -2.0 * p / static_cast<double>(2 * pairs));
    double sine = 0;
    double cosine = 0;
    sincos(angle, &sine, &cosine);
    to[2 * i] = A(cosine);
    to[2 * i + 1] = A(sine);
  });
  return angles;
}

template <class A>
Tensor table_for(double theta, std::int64_t pairs, std::int64_t positions, Device device) {
  static std::mutex mutex;
  static auto* tables = new std::vector<Table>;
  const std::scoped_lock lock(mutex);
  for (const Table& table : *tables) {
    const Tensor& angles = table.angles;
    if (table.theta == theta && table.pairs == pairs && angles.dim(0) >= positions && angles.device() == device &&
        angles.dtype() == dtype_of<A>()) {
      return angles;
    }
  }
  if (capturing())
    raise<DeviceError>("rope: the first call for ", positions, " positions cannot be captured in a graph");
  tables->push_back({theta, pairs, new_table<A>(theta, pairs, rope_table_rows(positions), device)});
  return tables->back().angles;
}

// A thread turns a pair, or carries on a channel that is not turned.
template <class T>
void rotate(const Tensor& x, const RopeOptions& options, bool inverse, const GradTarget& y) {
  using A = acc_t<T>;
  const Rows<T> in(x);
  const Target<T> out(y.tensor, y.add);
  const std::int64_t steps = x.dim(1);
  const std::int64_t pairs = options.head_dim / 2;
  const std::int64_t all_pairs = options.heads * pairs;
  const std::int64_t rest = in.width - 2 * all_pairs;
  const TokenPosition first = options.first_position;
  const std::int64_t repeat = options.rows_per_position;
  const std::int64_t positions = first.host + (steps - 1) / repeat + 1;
  const Tensor table = table_for<A>(options.theta, pairs, positions, x.device());
  const A* angles = table.data<A>();
  const A sign = inverse ? A(-1) : A(1);
  for_each_cell("rope", x.device(), in.count, all_pairs + rest, [=] __device__(std::int64_t r, std::int64_t p) {
    if (p >= all_pairs) {
      const std::int64_t c = all_pairs + p;
      out.put(r, c, A(in[r][c]));
      return;
    }
    const int pair = static_cast<int>(p) % static_cast<int>(pairs);
    const std::int64_t low = p - pair + p;  // 2 pairs in each head
    const int position = static_cast<int>(r % steps) / static_cast<int>(repeat);
    const A* angle = angles + ((first.value() + position) * pairs + pair) * 2;
    const A cosine = angle[0];
    const A turn = sign * angle[1];
    const A a = A(in[r][low]);
    const A b = A(in[r][low + pairs]);
    out.put(r, low, a * cosine - b * turn);
    out.put(r, low + pairs, b * cosine + a * turn);
  });
}

}  // namespace

Tensor rope_angles(const RopeOptions& options, std::int64_t positions, DType dtype, Device device) {
  const std::int64_t pairs = options.head_dim / 2;
  if (dtype == DType::f64) return table_for<double>(options.theta, pairs, positions, device);
  return table_for<float>(options.theta, pairs, positions, device);
}

void rope_rotate(const Tensor& x, const RopeOptions& options, bool inverse, const GradTarget& y) {
  dispatch_float(x.dtype(), "rope", [&]<class T>() { rotate<T>(x, options, inverse, y); });
}

}  // namespace mixgrad::cuda
