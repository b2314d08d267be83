#include <cmath>
#include <mutex>
#include <vector>

#include "ops/rope/rope_kernels.h"
#include "ops/support/row_tasks.h"

namespace mixgrad::cpu {
namespace {

// cos and sin of every angle, [positions, head_dim/2] each, in f64 or f32. Built once per (theta, head_dim, dtype),
// doubled when a longer sequence comes: a steady state computes and allocates nothing.
struct Table {
  double theta;
  std::int64_t head_dim;
  Tensor cosine;
  Tensor sine;
};

Table table_for(const RopeOptions& options, std::int64_t positions, DType dtype) {
  static std::mutex mutex;
  static auto* tables = new std::vector<Table>;
  const std::scoped_lock lock(mutex);
  Table* found = nullptr;
  for (Table& table : *tables) {
    if (table.theta == options.theta && table.head_dim == options.head_dim && table.cosine.dtype() == dtype) {
      found = &table;
    }
  }
  if (found != nullptr && found->cosine.dim(0) >= positions) return *found;
  if (found == nullptr) {
    tables->push_back({options.theta, options.head_dim, Tensor(), Tensor()});
    found = &tables->back();
  }
  const std::int64_t pairs = options.head_dim / 2;
  std::int64_t rows = 64;
  while (rows < positions) rows *= 2;
  found->cosine = Tensor::empty({rows, pairs}, dtype);
  found->sine = Tensor::empty({rows, pairs}, dtype);
  for (std::int64_t t = 0; t < rows; ++t) {
    for (std::int64_t i = 0; i < pairs; ++i) {
      const double angle = static_cast<double>(t) * std::pow(options.theta, -2.0 * static_cast<double>(i) /
                                                                                static_cast<double>(options.head_dim));
      found->cosine.set(t * pairs + i, std::cos(angle));
      found->sine.set(t * pairs + i, std::sin(angle));
    }
  }
  return *found;
}

}  // namespace

void rope_rotate(const Tensor& x, const RopeOptions& options, bool inverse, const GradTarget& y) {
  dispatch_float(x.dtype(), "rope", [&]<class T>() {
    using A = acc_t<T>;
    const std::int64_t steps = x.dim(1);
    const std::int64_t pairs = options.head_dim / 2;
    const std::int64_t rotated = options.heads * options.head_dim;
    const std::int64_t repeat = options.rows_per_position;
    const Table table = table_for(options, options.first_position.host + steps / repeat, dtype_of<A>());
    const A* cosines = table.cosine.data<A>();
    const A* sines = table.sine.data<A>();
    const A sign = inverse ? A(-1) : A(1);
    const Rows<T> in(x);
    const Rows<T> out(y.tensor);
    const bool add = y.add;
    parallel_rows(in.count, rows_per_task(in.width), [&](std::int64_t begin, std::int64_t end, std::int64_t) {
      for (std::int64_t r = begin; r < end; ++r) {
        const std::int64_t position = options.first_position.host + r % steps / repeat;
        const A* c = cosines + position * pairs;
        const A* s = sines + position * pairs;
        for (std::int64_t h = 0; h < options.heads; ++h) {
          const T* low = in[r] + h * options.head_dim;
          const T* high = low + pairs;
          T* to_low = out[r] + h * options.head_dim;
          T* to_high = to_low + pairs;
#pragma omp simd
          for (std::int64_t i = 0; i < pairs; ++i) {
            const A a = A(low[i]);
            const A b = A(high[i]);
            const A sine = sign * s[i];
            const A first = a * c[i] - b * sine;
            const A second = b * c[i] + a * sine;
            put(to_low[i], add, first);
            put(to_high[i], add, second);
          }
        }
        for (std::int64_t c2 = rotated; c2 < in.width; ++c2) put(out[r][c2], add, A(in[r][c2]));
      }
    });
  });
}

}  // namespace mixgrad::cpu
