#include "core/cuda/chunk_rows.cuh"
#include "ops/shift/shift_kernels.h"

namespace mixgrad::cuda {
namespace {

// The same formulas by chunks of 16 bytes, where a head has whole ones: less time than element by element.
template <class T>
bool has_whole_chunks(std::int64_t channels, std::initializer_list<const Tensor*> tensors) {
  return channels % Chunk<T>::kSize == 0 && are_chunk_rows(tensors);
}

template <class T>
void forward_chunks(const Tensor& x, const Tensor& shifts, Boundary boundary, const Tensor& z) {
  using C = Chunk<T>;
  const ChunkRows<T> in(x);
  const ChunkRows<T> out(z);
  const std::int32_t* shift_of = shifts.data<std::int32_t>();
  const std::int64_t steps = x.dim(1);
  const auto chunks = static_cast<int>(x.cols() / shifts.numel() / C::kSize);  // of a head
  const bool self = boundary == Boundary::self;
  for_each_cell("shift", x.device(), x.rows(), x.cols() / C::kSize, [=] __device__(std::int64_t r, std::int64_t i) {
    const std::int64_t shift = shift_of[static_cast<int>(i) / chunks];
    if (r % steps >= shift) {
      out.at(r, i) = in.at(r - shift, i);
    } else {
      out.at(r, i) = self ? in.at(r, i) : C{};
    }
  });
}

template <class T>
void backward_chunks(const Tensor& dz, const Tensor& shifts, Boundary boundary, const GradTarget& dx) {
  using A = acc_t<T>;
  using C = Chunk<T>;
  const ChunkRows<T> up(dz);
  const ChunkRows<T> out(dx.tensor);
  const bool add = dx.add;
  const std::int32_t* shift_of = shifts.data<std::int32_t>();
  const std::int64_t steps = dz.dim(1);
  const auto chunks = static_cast<int>(dz.cols() / shifts.numel() / C::kSize);
  const bool self = boundary == Boundary::self;
  for_each_cell("shift", dz.device(), dz.rows(), dz.cols() / C::kSize, [=] __device__(std::int64_t r, std::int64_t i) {
    const std::int64_t t = r % steps;
    const std::int64_t shift = shift_of[static_cast<int>(i) / chunks];
    const C later = t + shift < steps ? up.at(r + shift, i) : C{};
    const C here = self && t < shift ? up.at(r, i) : C{};
    C result = add ? out.at(r, i) : C{};
#pragma unroll
    for (int e = 0; e < C::kSize; ++e) {
      const A sum = A(later.values[e]) + A(here.values[e]);
      result.values[e] = static_cast<T>(add ? A(result.values[e]) + sum : sum);
    }
    out.at(r, i) = result;
  });
}

template <class T>
void forward(const Tensor& x, const Tensor& shifts, Boundary boundary, const Tensor& z) {
  if (has_whole_chunks<T>(x.cols() / shifts.numel(), {&x, &z})) return forward_chunks<T>(x, shifts, boundary, z);
  const Rows<T> in(x);
  const Rows<T> out(z);
  const std::int32_t* shift_of = shifts.data<std::int32_t>();
  const std::int64_t steps = x.dim(1);
  const std::int64_t channels = x.cols() / shifts.numel();
  const bool self = boundary == Boundary::self;
  for_each_cell("shift", x.device(), in.count, in.width, [=] __device__(std::int64_t r, std::int64_t c) {
    const std::int64_t shift = shift_of[c / channels];
    if (r % steps >= shift) {
      out[r][c] = in[r - shift][c];
    } else {
      out[r][c] = self ? in[r][c] : T(0.0F);
    }
  });
}

template <class T>
void backward(const Tensor& dz, const Tensor& shifts, Boundary boundary, const GradTarget& dx) {
  if (has_whole_chunks<T>(dz.cols() / shifts.numel(), {&dz, &dx.tensor})) {
    return backward_chunks<T>(dz, shifts, boundary, dx);
  }
  using A = acc_t<T>;
  const Rows<T> up(dz);
  const Target<T> out(dx.tensor, dx.add);
  const std::int32_t* shift_of = shifts.data<std::int32_t>();
  const std::int64_t steps = dz.dim(1);
  const std::int64_t channels = dz.cols() / shifts.numel();
  const bool self = boundary == Boundary::self;
  for_each_cell("shift", dz.device(), up.count, up.width, [=] __device__(std::int64_t r, std::int64_t c) {
    const std::int64_t t = r % steps;
    const std::int64_t shift = shift_of[c / channels];
    A sum = 0;
    if (t + shift < steps) sum += A(up[r + shift][c]);
    if (self && t < shift) sum += A(up[r][c]);
    out.put(r, c, sum);
  });
}

// A thread owns one channel of one sequence and walks through the tokens: reads its slot, then overwrites it.
template <class T>
void ring(const Tensor& x, const Tensor& shifts, Boundary boundary, const Tensor& history, TokenPosition position,
          const Tensor& z) {
  const Rows<T> in(x);
  const Rows<T> out(z);
  const Rows<T> rings(history);
  const std::int32_t* shift_of = shifts.data<std::int32_t>();
  const std::int64_t steps = x.dim(1);
  const std::int64_t channels = x.cols() / shifts.numel();
  const bool self = boundary == Boundary::self;
  for_each("shift", x.device(), x.dim(0) * x.cols(), [=] __device__(std::int64_t i) {
    const std::int64_t n = i / in.width;
    const std::int64_t c = i % in.width;
    T* slots = rings[n] + c % channels;
    for (std::int64_t h = 0; h < c / channels; ++h) slots += shift_of[h] * channels;
    const std::int64_t shift = shift_of[c / channels];
    const std::int64_t first = position.value();
    for (std::int64_t t = 0; t < steps; ++t) {
      const std::int64_t r = n * steps + t;
      const T here = in[r][c];
      T& slot = slots[(first + t) % shift * channels];
      out[r][c] = first + t >= shift ? slot : (self ? here : T(0.0F));
      slot = here;
    }
  });
}

}  // namespace

void shift_forward(const Tensor& x, const Tensor& shifts, Boundary boundary, const Tensor& z) {
  dispatch_float(x.dtype(), "shift", [&]<class T>() { forward<T>(x, shifts, boundary, z); });
}

void shift_backward(const Tensor& dz, const Tensor& shifts, Boundary boundary, const GradTarget& dx) {
  dispatch_float(dz.dtype(), "shift", [&]<class T>() { backward<T>(dz, shifts, boundary, dx); });
}

void shift_ring(const Tensor& x, const Tensor& shifts, Boundary boundary, const Tensor& history, TokenPosition position,
                const Tensor& z) {
  dispatch_float(x.dtype(), "shift", [&]<class T>() { ring<T>(x, shifts, boundary, history, position, z); });
}

}  // namespace mixgrad::cuda
