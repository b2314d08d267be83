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

// Where a thread finds its rows and the angles of its pairs.
template <class T>
struct Rotation {
  using A = acc_t<T>;
  Rows<T> in;
  Target<T> out;
  const A* angles;
  A sign;  // -1: the inverse
  std::int64_t pairs, all_pairs, rest;
  int steps, repeat;
  TokenPosition first;

  // Of the first pair of row r.
  __device__ const A* angles_of(std::int64_t r) const {
    const int position = static_cast<int>(r % steps) / repeat;
    return angles + (first.value() + position) * pairs * 2;
  }
};

// A thread rotates a pair, or copies a channel that is not rotated.
template <class T>
void rotate_pairs(const Rotation<T>& p, Device device) {
  using A = acc_t<T>;
  for_each_cell("rope", device, p.in.count, p.all_pairs + p.rest, [=] __device__(std::int64_t r, std::int64_t i) {
    if (i >= p.all_pairs) {
      const std::int64_t c = p.all_pairs + i;
      p.out.put(r, c, A(p.in[r][c]));
      return;
    }
    const int pair = static_cast<int>(i) % static_cast<int>(p.pairs);
    const std::int64_t low = i - pair + i;  // 2 pairs in each head
    const A* angle = p.angles_of(r) + 2 * pair;
    const A cosine = angle[0];
    const A sine = p.sign * angle[1];
    const A a = A(p.in[r][low]);
    const A b = A(p.in[r][low + p.pairs]);
    p.out.put(r, low, a * cosine - b * sine);
    p.out.put(r, low + p.pairs, b * cosine + a * sine);
  });
}

// As many pairs of a head as 16 bytes hold, or so many channels that are not rotated; the same bits.
template <class T>
void rotate_chunks(const Rotation<T>& p, Device device) {
  using A = acc_t<T>;
  constexpr int kSize = Chunk<T>::kSize;
  const int chunks_of_head = static_cast<int>(p.pairs) / kSize;
  const std::int64_t rotated = p.all_pairs / kSize;
  for_each_cell("rope", device, p.in.count, rotated + p.rest / kSize, [=] __device__(std::int64_t r, std::int64_t i) {
    const auto read = [&](std::int64_t c) { return *reinterpret_cast<const Chunk<T>*>(p.in[r] + c); };
    const auto write = [&](std::int64_t c, const A(&values)[kSize]) {
      auto* to = reinterpret_cast<Chunk<T>*>(p.out.to[r] + c);
      Chunk<T> result = p.out.add ? *to : Chunk<T>{};
#pragma unroll
      for (int e = 0; e < kSize; ++e) {
        result.values[e] = static_cast<T>(p.out.add ? A(result.values[e]) + values[e] : values[e]);
      }
      *to = result;
    };
    A low[kSize];
    A high[kSize];
    if (i >= rotated) {
      const std::int64_t c = 2 * p.all_pairs + (i - rotated) * kSize;
      const Chunk<T> values = read(c);
#pragma unroll
      for (int e = 0; e < kSize; ++e) low[e] = A(values.values[e]);
      write(c, low);
      return;
    }
    const int head = static_cast<int>(i) / chunks_of_head;
    const int pair = (static_cast<int>(i) - head * chunks_of_head) * kSize;
    const std::int64_t c = 2 * head * p.pairs + pair;
    const A* angle = p.angles_of(r) + 2 * pair;
    const Chunk<T> a = read(c);
    const Chunk<T> b = read(c + p.pairs);
#pragma unroll
    for (int e = 0; e < kSize; ++e) {
      const A cosine = angle[2 * e];
      const A sine = p.sign * angle[2 * e + 1];
      low[e] = A(a.values[e]) * cosine - A(b.values[e]) * sine;
      high[e] = A(b.values[e]) * cosine + A(a.values[e]) * sine;
    }
    write(c, low);
    write(c + p.pairs, high);
  });
}

template <class T>
void rotate(const Tensor& x, const RopeOptions& options, bool inverse, const GradTarget& y) {
  using A = acc_t<T>;
  const std::int64_t pairs = options.head_dim / 2;
  const std::int64_t all_pairs = options.heads * pairs;
  const TokenPosition first = options.first_position;
  const std::int64_t repeat = options.rows_per_position;
  const std::int64_t positions = first.host + (x.dim(1) - 1) / repeat + 1;
  const Tensor table = table_for<A>(options.theta, pairs, positions, x.device());
  const Rotation<T> p{.in = Rows<T>(x),
                      .out = Target<T>(y.tensor, y.add),
                      .angles = table.data<A>(),
                      .sign = inverse ? A(-1) : A(1),
                      .pairs = pairs,
                      .all_pairs = all_pairs,
                      .rest = x.cols() - 2 * all_pairs,
                      .steps = static_cast<int>(x.dim(1)),
                      .repeat = static_cast<int>(repeat),
                      .first = first};
  constexpr int kSize = Chunk<T>::kSize;
  const auto has_chunks = [](const Tensor& tensor) {
    return reinterpret_cast<std::uintptr_t>(tensor.raw()) % 16 == 0 && tensor.row_stride() % kSize == 0;
  };
  if (pairs % kSize == 0 && p.rest % kSize == 0 && has_chunks(x) && has_chunks(y.tensor)) {
    return rotate_chunks<T>(p, x.device());
  }
  rotate_pairs<T>(p, x.device());
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
