#include <limits>

#include "core/cuda/launch.cuh"
#include "core/cuda/partial_sums.cuh"
#include "ops/shift_mix/shift_mix_blocks.h"
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

// ---- by chunks of 16 bytes, where a head has whole ones; the element-by-element kernels above compute the same

// Channels [c, c + kSize) of one head.
template <class T>
struct ChunkCoefficients {
  using A = acc_t<T>;
  static constexpr int kSize = Chunk<T>::kSize;
  A a[kSize], b[kSize];
  int shift;

  // With one coefficient for whole chunks a division is made once: 16 of 64 bits took longer than memory does.
  __device__ ChunkCoefficients(const Coefficients<T>& k, int c) {
    const int each = static_cast<int>(k.channels_each);
    shift = k.shifts[c / static_cast<int>(k.channels)];
    const bool shared = each % kSize == 0;
    const A first = shared ? A(k.a[c / each]) : A(0);
    const A second = shared ? A(k.b[c / each]) : A(0);
#pragma unroll
    for (int e = 0; e < kSize; ++e) {
      a[e] = shared ? first : A(k.a[(c + e) / each]);
      b[e] = shared ? second : A(k.b[(c + e) / each]);
    }
  }
};

template <class T>
__device__ Chunk<T> chunk_at(const Rows<T>& rows, std::int64_t r, std::int64_t c) {
  return *reinterpret_cast<const Chunk<T>*>(rows[r] + c);
}

template <class T>
bool has_whole_chunks(const Coefficients<T>& k, std::initializer_list<const Tensor*> tensors) {
  constexpr int kSize = Chunk<T>::kSize;
  for (const Tensor* x : tensors) {
    if (!x->defined()) continue;
    if (reinterpret_cast<std::uintptr_t>(x->raw()) % 16 != 0 || x->row_stride() % kSize != 0) return false;
    if (x->rows() > std::numeric_limits<int>::max()) return false;
  }
  return k.channels % kSize == 0;
}

template <class T>
void forward_chunks(const Tensor& x, const Coefficients<T>& k, Boundary boundary, const Tensor& y) {
  using A = acc_t<T>;
  constexpr int kSize = Chunk<T>::kSize;
  const Rows<T> in(x);
  const Rows<T> out(y);
  const auto steps = static_cast<int>(x.dim(1));
  const bool self = boundary == Boundary::self;
  for_each_cell("shift_mix", x.device(), in.count, in.width / kSize, [=] __device__(std::int64_t r, std::int64_t i) {
    const int c = static_cast<int>(i) * kSize;
    const ChunkCoefficients<T> own(k, c);
    const bool past = static_cast<int>(r) % steps >= own.shift;
    const Chunk<T> here = chunk_at(in, r, c);
    const Chunk<T> before = past ? chunk_at(in, r - own.shift, c) : self ? here : Chunk<T>{};
    Chunk<T> result;
#pragma unroll
    for (int e = 0; e < kSize; ++e) {
      result.values[e] = static_cast<T>(own.a[e] * A(here.values[e]) + own.b[e] * A(before.values[e]));
    }
    *reinterpret_cast<Chunk<T>*>(out[r] + c) = result;
  });
}

constexpr int kMixWarps = 4;
constexpr int kMixBlockThreads = kMixWarps * kWarp;
constexpr int kMixWarpRows = kShiftMixSumRows / kMixWarps;

// dx, and partial[block, 2, width], the sums of kShiftMixSumRows rows for da and db of every channel: each element is
// read once (and once more, shifted, from the cache). A lane has one chunk of a row, a warp kMixWarpRows rows; the
// warps are joined in order.
template <class T>
__global__ void __launch_bounds__(kMixBlockThreads)
    backward_chunks_kernel(Rows<T> in, Rows<T> up, Coefficients<T> k, int steps, bool self, Target<T> dx,
                           acc_t<T>* partial) {
  using A = acc_t<T>;
  constexpr int kSize = Chunk<T>::kSize;
  __shared__ A sums[kMixWarps][2][kWarp * kSize];
  wait_for_previous();
  const auto lane = static_cast<int>(threadIdx.x) % kWarp;
  const auto warp = static_cast<int>(threadIdx.x) / kWarp;
  const std::int64_t first_column = static_cast<std::int64_t>(blockIdx.x) * kWarp * kSize;
  const std::int64_t c = first_column + lane * kSize;
  const std::int64_t begin = static_cast<std::int64_t>(blockIdx.y) * kShiftMixSumRows + warp * kMixWarpRows;
  A sum_a[kSize] = {};
  A sum_b[kSize] = {};
  if (c < in.width) {
    const ChunkCoefficients<T> own(k, static_cast<int>(c));
#pragma unroll 4
    for (int i = 0; i < kMixWarpRows; ++i) {
      const std::int64_t r = begin + i;
      if (r >= in.count) break;
      const int t = static_cast<int>(r) % steps;
      const bool past = t >= own.shift;
      const bool next = t + own.shift < steps;
      const Chunk<T> slope = chunk_at(up, r, c);
      const Chunk<T> here = chunk_at(in, r, c);
      const Chunk<T> before = past ? chunk_at(in, r - own.shift, c) : self ? here : Chunk<T>{};
      const Chunk<T> after = next ? chunk_at(up, r + own.shift, c) : Chunk<T>{};
      Chunk<T> result = dx && dx.add ? chunk_at(dx.to, r, c) : Chunk<T>{};
#pragma unroll
      for (int e = 0; e < kSize; ++e) {
        const A g = A(slope.values[e]);
        sum_a[e] += g * A(here.values[e]);
        sum_b[e] += g * A(before.values[e]);
        A value = (!past && self ? own.a[e] + own.b[e] : own.a[e]) * g;
        if (next) value += own.b[e] * A(after.values[e]);
        result.values[e] = static_cast<T>(dx.add ? A(result.values[e]) + value : value);
      }
      if (dx) *reinterpret_cast<Chunk<T>*>(dx.to[r] + c) = result;
    }
  }
  if (partial == nullptr) return;
#pragma unroll
  for (int e = 0; e < kSize; ++e) {
    sums[warp][0][lane * kSize + e] = sum_a[e];
    sums[warp][1][lane * kSize + e] = sum_b[e];
  }
  __syncthreads();
  for (int i = static_cast<int>(threadIdx.x); i < 2 * kWarp * kSize; i += kMixBlockThreads) {
    const int which = i / (kWarp * kSize);
    const int column = i % (kWarp * kSize);
    if (first_column + column >= in.width) continue;
    A sum = sums[0][which][column];
#pragma unroll
    for (int w = 1; w < kMixWarps; ++w) sum += sums[w][which][column];
    partial[(static_cast<std::int64_t>(blockIdx.y) * 2 + which) * in.width + first_column + column] = sum;
  }
}

// Element i of a gradient (+)= the sum over the channels that share it.
template <class A>
void sum_of_channels(const A* totals, std::int64_t width, const GradTarget& target, Device device) {
  const std::int64_t each = width / target.tensor.numel();
  const StoreGradient<A> store{target.tensor.data<A>(), target.add};
  for_each_row("shift_mix", device, target.tensor.numel(), [=] __device__(std::int64_t i) {
    A sum = 0;
    for (std::int64_t c = threadIdx.x; c < each; c += kRowThreads) sum += totals[i * each + c];
    sum = block_sum(sum);
    if (threadIdx.x == 0) store(i, sum);
  });
}

template <class T>
void backward_chunks(const Tensor& x, const Coefficients<T>& k, Boundary boundary, const Tensor& dy,
                     const GradTarget& dx, const GradTarget& da, const GradTarget& db) {
  using A = acc_t<T>;
  const Rows<T> in(x);
  const std::int64_t width = in.width;
  const bool sums = da.tensor.defined() || db.tensor.defined();
  const std::int64_t blocks = (in.count + kShiftMixSumRows - 1) / kShiftMixSumRows;
  const Tensor partial = sums ? Tensor::empty({blocks, 2 * width}, dtype_of<A>(), x.device()) : Tensor();
  constexpr std::int64_t kColumns = kWarp * Chunk<T>::kSize;
  if (blocks > 0) {
    const dim3 grid(static_cast<unsigned>((width + kColumns - 1) / kColumns), static_cast<unsigned>(blocks));
    launch("shift_mix", x.device(), grid, kMixBlockThreads, 0, backward_chunks_kernel<T>, in, Rows<T>(dy), k,
           static_cast<int>(x.dim(1)), boundary == Boundary::self, Target<T>(dx.tensor, dx.tensor.defined() && dx.add),
           sums ? partial.data<A>() : nullptr);
  }
  if (!sums) return;
  const Tensor totals = Tensor::empty({2 * width}, dtype_of<A>(), x.device());
  join_partial_sums("shift_mix", x.device(), partial.data<A>(), blocks, 2 * width,
                    StoreGradient<A>{totals.data<A>(), false});
  if (da.tensor.defined()) sum_of_channels(totals.data<A>(), width, da, x.device());
  if (db.tensor.defined()) sum_of_channels(totals.data<A>() + width, width, db, x.device());
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
  dispatch_float(x.dtype(), "shift_mix", [&]<class T>() {
    const Coefficients<T> k(x, a, b, shifts);
    if (has_whole_chunks(k, {&x, &y})) return forward_chunks<T>(x, k, boundary, y);
    forward<T>(x, a, b, shifts, boundary, y);
  });
}

void shift_mix_backward(const Tensor& x, const Tensor& a, const Tensor& b, const Tensor& shifts, Boundary boundary,
                        const Tensor& dy, const GradTarget& dx, const GradTarget& da, const GradTarget& db) {
  dispatch_float(x.dtype(), "shift_mix", [&]<class T>() {
    const Coefficients<T> k(x, a, b, shifts);
    constexpr std::int64_t kMostRows = 65535 * kShiftMixSumRows;  // of a grid's second axis
    if (has_whole_chunks(k, {&x, &dy, &dx.tensor}) && x.rows() <= kMostRows) {
      return backward_chunks<T>(x, k, boundary, dy, dx, da, db);
    }
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
