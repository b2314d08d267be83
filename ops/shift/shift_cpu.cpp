#include <algorithm>

#include "ops/shift/shift_kernels.h"
#include "ops/shift/shift_rows_cpu.h"

namespace mixgrad::cpu {
namespace {

template <class T>
void copy_row(const T* from, std::int64_t width, T* to) {
  if (from == nullptr) {
    std::fill_n(to, width, T(0.0F));
  } else {
    std::copy_n(from, width, to);
  }
}

}  // namespace

void shift_forward(const Tensor& x, const Tensor& shifts, Boundary boundary, const Tensor& z) {
  dispatch_float(x.dtype(), "shift", [&]<class T>() {
    const Rows<T> in(x);
    const Rows<T> out(z);
    const ShiftedHeads sizes(x, shifts);
    parallel_rows(in.count, rows_per_task(in.width), [&](std::int64_t begin, std::int64_t end, std::int64_t) {
      for (std::int64_t r = begin; r < end; ++r) {
        for (std::int64_t h = 0; h < sizes.heads; ++h) {
          copy_row<T>(row_before(in, sizes, boundary, r, h), sizes.channels, out[r] + h * sizes.channels);
        }
      }
    });
  });
}

void shift_backward(const Tensor& dz, const Tensor& shifts, Boundary boundary, const GradTarget& dx) {
  dispatch_float(dz.dtype(), "shift", [&]<class T>() {
    using A = acc_t<T>;
    const Rows<T> up(dz);
    const Rows<T> out(dx.tensor);
    const ShiftedHeads sizes(dz, shifts);
    parallel_rows(up.count, rows_per_task(up.width), [&](std::int64_t begin, std::int64_t end, std::int64_t) {
      for (std::int64_t r = begin; r < end; ++r) {
        const std::int64_t t = r % sizes.steps;
        for (std::int64_t h = 0; h < sizes.heads; ++h) {
          const std::int64_t s = sizes.shift[h];
          const std::int64_t c0 = h * sizes.channels;
          const T* later = t + s < sizes.steps ? up[r + s] + c0 : nullptr;
          const T* here = boundary == Boundary::self && t < s ? up[r] + c0 : nullptr;
          T* to = out[r] + c0;
          if (!dx.add && here == nullptr) {
            copy_row<T>(later, sizes.channels, to);
            continue;
          }
          for (std::int64_t c = 0; c < sizes.channels; ++c) {
            A sum = dx.add ? A(to[c]) : A(0);
            if (later != nullptr) sum += A(later[c]);
            if (here != nullptr) sum += A(here[c]);
            to[c] = static_cast<T>(sum);
          }
        }
      }
    });
  });
}

void shift_ring(const Tensor& x, const Tensor& shifts, Boundary boundary, const Tensor& ring, TokenPosition position,
                const Tensor& z) {
  dispatch_float(x.dtype(), "shift", [&]<class T>() {
    const Rows<T> out(z);
    const std::int64_t channels = x.cols() / shifts.numel();
    through_ring<T>(
        x, shifts, boundary, ring, position.host,
        [&](std::int64_t r, std::int64_t c, const T*, const T* before) { copy_row<T>(before, channels, out[r] + c); });
  });
}

}  // namespace mixgrad::cpu
