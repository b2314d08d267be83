#include "ops/shift/shift_rows_cpu.h"
#include "ops/shift_mix/shift_mix_kernels.h"
#include "ops/support/target.h"

namespace mixgrad::cpu {
namespace {

// The coefficients one per channel, in the accumulation type, whichever form they come in.
template <class T>
Tensor per_channel(const Tensor& coefficient, std::int64_t width) {
  using A = acc_t<T>;
  Tensor expanded = Tensor::empty({width}, dtype_of<A>());
  const std::int64_t channels = width / coefficient.numel();
  for (std::int64_t c = 0; c < width; ++c) expanded.data<A>()[c] = A(coefficient.data<T>()[c / channels]);
  return expanded;
}

// to[c] (+)= a[c] p[c] + b[c] q[c]; q may be null (zero).
template <class T, class A>
void mix(const A* a, const T* p, const A* b, const T* q, std::int64_t width, bool add, T* to) {
  if (q == nullptr) {
    for (std::int64_t c = 0; c < width; ++c) {
      const A value = a[c] * A(p[c]);
      put(to[c], add, value);
    }
    return;
  }
  for (std::int64_t c = 0; c < width; ++c) {
    const A value = a[c] * A(p[c]) + b[c] * A(q[c]);
    put(to[c], add, value);
  }
}

// The gradient where z was x itself: to[c] (+)= (a[c] + b[c]) g[c] + b[c] later[c], rounded once; later may be null.
template <class T, class A>
void unmix_self(const A* a, const A* b, const T* g, const T* later, std::int64_t width, bool add, T* to) {
  for (std::int64_t c = 0; c < width; ++c) {
    A value = (a[c] + b[c]) * A(g[c]);
    if (later != nullptr) value += b[c] * A(later[c]);
    put(to[c], add, value);
  }
}

}  // namespace

void shift_mix_forward(const Tensor& x, const Tensor& a, const Tensor& b, const Tensor& shifts, Boundary boundary,
                       const Tensor& y) {
  dispatch_float(x.dtype(), "shift_mix", [&]<class T>() {
    using A = acc_t<T>;
    const Rows<T> in(x);
    const Rows<T> out(y);
    const ShiftedHeads sizes(x, shifts);
    const Tensor a_channel = per_channel<T>(a, in.width);
    const Tensor b_channel = per_channel<T>(b, in.width);
    const A* av = a_channel.data<A>();
    const A* bv = b_channel.data<A>();
    parallel_rows(in.count, rows_per_task(in.width), [&](std::int64_t begin, std::int64_t end, std::int64_t) {
      for (std::int64_t r = begin; r < end; ++r) {
        for (std::int64_t h = 0; h < sizes.heads; ++h) {
          const std::int64_t c = h * sizes.channels;
          const T* before = row_before(in, sizes, boundary, r, h);
          mix<T, A>(av + c, in[r] + c, bv + c, before, sizes.channels, false, out[r] + c);
        }
      }
    });
  });
}

void shift_mix_backward(const Tensor& x, const Tensor& a, const Tensor& b, const Tensor& shifts, Boundary boundary,
                        const Tensor& dy, const GradTarget& dx, const GradTarget& da, const GradTarget& db) {
  dispatch_float(x.dtype(), "shift_mix", [&]<class T>() {
    using A = acc_t<T>;
    const Rows<T> in(x);
    const Rows<T> up(dy);
    const Rows<T> out(dx.tensor);
    const std::int64_t width = in.width;
    const ShiftedHeads sizes(x, shifts);
    const std::int64_t channels = sizes.channels;
    const Tensor a_channel = per_channel<T>(a, width);
    const Tensor b_channel = per_channel<T>(b, width);
    const A* av = a_channel.data<A>();
    const A* bv = b_channel.data<A>();
    const Tensor totals = Tensor::empty({2 * width}, dtype_of<A>());  // da then db, per channel
    A* total = totals.data<A>();
    ordered_column_sums<A>(
        in.count, 2 * width, rows_per_task(width),
        [&](std::int64_t begin, std::int64_t end, A* sums) {
          for (std::int64_t r = begin; r < end; ++r) {
            const std::int64_t t = r % sizes.steps;
            for (std::int64_t h = 0; h < sizes.heads; ++h) {
              const std::int64_t s = sizes.shift[h];
              const std::int64_t c0 = h * channels;
              const T* g = up[r] + c0;
              const T* here = in[r] + c0;
              const T* before = row_before(in, sizes, boundary, r, h);
              if (out) {
                const T* later = t + s < sizes.steps ? up[r + s] + c0 : nullptr;
                if (t < s && boundary == Boundary::self) {
                  unmix_self<T, A>(av + c0, bv + c0, g, later, channels, dx.add, out[r] + c0);
                } else {
                  mix<T, A>(av + c0, g, bv + c0, later, channels, dx.add, out[r] + c0);
                }
              }
              for (std::int64_t c = 0; c < channels; ++c) sums[c0 + c] += A(g[c]) * A(here[c]);
              if (before == nullptr) continue;
              for (std::int64_t c = 0; c < channels; ++c) sums[width + c0 + c] += A(g[c]) * A(before[c]);
            }
          }
        },
        [&](std::int64_t c, A sum) { total[c] = sum; });
    const auto reduce = [&](const GradTarget& target, const A* sums) {
      if (!target.tensor.defined()) return;
      A* to = target.tensor.data<A>();
      const std::int64_t count = target.tensor.numel();
      for (std::int64_t i = 0; i < count; ++i) {
        A sum = 0;
        for (std::int64_t c = i * (width / count); c < (i + 1) * (width / count); ++c) sum += sums[c];
        put(to[i], target.add, sum);
      }
    };
    reduce(da, total);
    reduce(db, total + width);
  });
}

void shift_mix_ring(const Tensor& x, const Tensor& a, const Tensor& b, const Tensor& shifts, Boundary boundary,
                    const Tensor& ring, TokenPosition position, const Tensor& y) {
  dispatch_float(x.dtype(), "shift_mix", [&]<class T>() {
    using A = acc_t<T>;
    const Rows<T> out(y);
    const std::int64_t channels = x.cols() / shifts.numel();
    const Tensor a_channel = per_channel<T>(a, x.cols());
    const Tensor b_channel = per_channel<T>(b, x.cols());
    const A* av = a_channel.data<A>();
    const A* bv = b_channel.data<A>();
    through_ring<T>(x, shifts, boundary, ring, position.host,
                    [&](std::int64_t r, std::int64_t c, const T* here, const T* before) {
                      mix<T, A>(av + c, here, bv + c, before, channels, false, out[r] + c);
                    });
  });
}

}  // namespace mixgrad::cpu
