#include "core/cuda/launch.cuh"
#include "ops/shift_mix/shift_mix_kernels.h"

namespace mixgrad::cuda {
namespace {

// What a thread needs to know of its element: the coefficients come one per head or one per channel.
template <class T>
struct Coefficients {
  using A = acc_t<T>;
  const T* a;
  const T* b;
  const std::int32_t* shifts;
  std::int64_t channels_each;  // channels that share a coefficient
  std::int64_t channels;       // of a head

  Coefficients(const Tensor& x, const Tensor& first, const Tensor& second, const Tensor& shift)
      : a(first.data<T>()),
        b(second.data<T>()),
        shifts(shift.data<std::int32_t>()),
        channels_each(x.cols() / first.numel()),
        channels(x.cols() / shift.numel()) {}
  __device__ A first(std::int64_t c) const { return A(a[c / channels_each]); }
  __device__ A second(std::int64_t c) const { return A(b[c / channels_each]); }
  __device__ std::int64_t shift(std::int64_t c) const { return shifts[c / channels]; }
};

template <class T>
void forward(const Tensor& x, const Tensor& a, const Tensor& b, const Tensor& shifts, Boundary boundary,
             const Tensor& y) {
  using A = acc_t<T>;
  const Rows<T> in(x);
  const Rows<T> out(y);
  const Coefficients<T> k(x, a, b, shifts);
  const std::int64_t steps = x.dim(1);
  const bool self = boundary == Boundary::self;
  for_each_cell("shift_mix", x.device(), in.count, in.width, [=] __device__(std::int64_t r, std::int64_t c) {
    const std::int64_t shift = k.shift(c);
    const A here = A(in[r][c]);
    const A before = r % steps >= shift ? A(in[r - shift][c]) : (self ? here : A(0));
    out[r][c] = static_cast<T>(k.first(c) * here + k.second(c) * before);
  });
}

template <class T>
void backward_x(const Tensor& x, const Tensor& a, const Tensor& b, const Tensor& shifts, Boundary boundary,
                const Tensor& dy, const GradTarget& dx) {
  using A = acc_t<T>;
  const Rows<T> up(dy);
  const Target<T> out(dx.tensor, dx.add);
  const Coefficients<T> k(x, a, b, shifts);
  const std::int64_t steps = x.dim(1);
  const bool self = boundary == Boundary::self;
  for_each_cell("shift_mix", x.device(), up.count, up.width, [=] __device__(std::int64_t r, std::int64_t c) {
    const std::int64_t t = r % steps;
    const std::int64_t shift = k.shift(c);
    A value = (t < shift && self ? k.first(c) + k.second(c) : k.first(c)) * A(up[r][c]);
    if (t + shift < steps) value += k.second(c) * A(up[r + shift][c]);
    out.put(r, c, value);
  });
}

// da (second: db) per channel, then summed over the channels that share it.
template <class T>
void backward_coefficient(const Tensor& x, const Tensor& shifts, Boundary boundary, const Tensor& dy, bool second,
                          const GradTarget& target) {
  using A = acc_t<T>;
  const Rows<T> in(x);
  const Rows<T> up(dy);
  const std::int64_t steps = x.dim(1);
  const std::int64_t channels = x.cols() / shifts.numel();
  const std::int32_t* shift_of = shifts.data<std::int32_t>();
  const bool self = boundary == Boundary::self;
  const Tensor per_channel = Tensor::empty({x.cols()}, dtype_of<A>(), x.device());
  A* totals = per_channel.data<A>();
  column_sums<A>(
      "shift_mix", x.device(), in.count, in.width,
      [=] __device__(std::int64_t r, std::int64_t c) {
        const std::int64_t shift = second ? shift_of[c / channels] : 0;
        if (r % steps < shift) return self ? A(up[r][c]) * A(in[r][c]) : A(0);
        return A(up[r][c]) * A(in[r - shift][c]);
      },
      [=] __device__(std::int64_t c, A sum) { totals[c] = sum; });
  A* to = target.tensor.data<A>();
  const bool add = target.add;
  const std::int64_t each = x.cols() / target.tensor.numel();
  for_each("shift_mix", x.device(), target.tensor.numel(), [=] __device__(std::int64_t i) {
    A sum = 0;
    for (std::int64_t c = i * each; c < (i + 1) * each; ++c) sum += totals[c];
    to[i] = add ? to[i] + sum : sum;
  });
}

// A thread owns one channel of one sequence and walks through the tokens: reads its slot, then overwrites it.
template <class T>
void ring(const Tensor& x, const Tensor& a, const Tensor& b, const Tensor& shifts, Boundary boundary,
          const Tensor& history, TokenPosition position, const Tensor& y) {
  using A = acc_t<T>;
  const Rows<T> in(x);
  const Rows<T> out(y);
  const Rows<T> rings(history);
  const Coefficients<T> k(x, a, b, shifts);
  const std::int64_t steps = x.dim(1);
  const bool self = boundary == Boundary::self;
  for_each("shift_mix", x.device(), x.dim(0) * x.cols(), [=] __device__(std::int64_t i) {
    const std::int64_t n = i / in.width;
    const std::int64_t c = i % in.width;
    std::int64_t begin = 0;  // of this head's slots
    for (std::int64_t h = 0; h < c / k.channels; ++h) begin += k.shifts[h] * k.channels;
    T* slots = rings[n] + begin + c % k.channels;
    const std::int64_t shift = k.shift(c);
    const std::int64_t first = position.value();
    for (std::int64_t t = 0; t < steps; ++t) {
      const std::int64_t r = n * steps + t;
      T& slot = slots[(first + t) % shift * k.channels];
      const A here = A(in[r][c]);
      const A before = first + t >= shift ? A(slot) : (self ? here : A(0));
      slot = in[r][c];
      out[r][c] = static_cast<T>(k.first(c) * here + k.second(c) * before);
    }
  });
}

}  // namespace

void shift_mix_forward(const Tensor& x, const Tensor& a, const Tensor& b, const Tensor& shifts, Boundary boundary,
                       const Tensor& y) {
  dispatch_float(x.dtype(), "shift_mix", [&]<class T>() { forward<T>(x, a, b, shifts, boundary, y); });
}

void shift_mix_backward(const Tensor& x, const Tensor& a, const Tensor& b, const Tensor& shifts, Boundary boundary,
                        const Tensor& dy, const GradTarget& dx, const GradTarget& da, const GradTarget& db) {
  dispatch_float(x.dtype(), "shift_mix", [&]<class T>() {
    if (dx.tensor.defined()) backward_x<T>(x, a, b, shifts, boundary, dy, dx);
    if (da.tensor.defined()) backward_coefficient<T>(x, shifts, boundary, dy, false, da);
    if (db.tensor.defined()) backward_coefficient<T>(x, shifts, boundary, dy, true, db);
  });
}

void shift_mix_ring(const Tensor& x, const Tensor& a, const Tensor& b, const Tensor& shifts, Boundary boundary,
                    const Tensor& ring_buffer, TokenPosition position, const Tensor& y) {
  dispatch_float(x.dtype(), "shift_mix",
                 [&]<class T>() { ring<T>(x, a, b, shifts, boundary, ring_buffer, position, y); });
}

}  // namespace mixgrad::cuda
