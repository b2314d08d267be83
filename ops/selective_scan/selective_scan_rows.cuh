// Private to the CUDA implementations of the scan: its inputs as rows, and the last step of every backward.
#pragma once

#include "core/cuda/launch.cuh"
#include "ops/elementwise/functions.h"
#include "ops/selective_scan/selective_scan_kernels.h"

namespace mixgrad::cuda {

// Token t of a sequence and head is row (sequence T + t) R + head.
template <class T>
struct ScanRows {
  using A = acc_t<T>;

  Rows<T> x, dt, b, c;
  const T* a_log;
  const T* d;
  std::int64_t sequences, steps, heads, channels, states;

  explicit ScanRows(const ScanInputs& in)
      : x(in.x),
        dt(in.dt),
        b(in.b),
        c(in.c),
        a_log(in.a_log.data<T>()),
        d(in.d.data<T>()),
        sequences(in.x.dim(0)),
        steps(in.x.dim(1)),
        heads(in.x.dim(2)),
        channels(in.x.dim(3)),
        states(in.a_log.dim(2)) {}

  __device__ std::int64_t row(std::int64_t sequence, std::int64_t t, std::int64_t head) const {
    return (sequence * steps + t) * heads + head;
  }
  __device__ A step(std::int64_t r, std::int64_t ch) const { return functions::Softplus::f(A(dt[r][ch])); }
  __device__ A rate(std::int64_t head, std::int64_t ch, std::int64_t n) const {
    return -std::exp(A(a_log[(head * channels + ch) * states + n]));
  }
};

// da_log and dd: the sums of the sequences, in order. Those of (sequence, head) begin at (sequence R + head) pitch of
// `from`: da_log as [N,C], then dd [C].
template <class T>
void parameter_sums(const ScanRows<T>& in, const acc_t<T>* from, std::int64_t pitch, Device device,
                    const ScanTargets& out) {
  using A = acc_t<T>;
  const Target<A> da(out.a_log.tensor, out.a_log.add);
  const Target<A> dd(out.d.tensor, out.d.add);
  const std::int64_t size = in.states * in.channels;
  for_each("selective_scan", device, in.heads * (size + in.channels), [=] __device__(std::int64_t i) {
    const std::int64_t head = i / (size + in.channels);
    const std::int64_t column = i % (size + in.channels);
    A sum = 0;
    for (std::int64_t b = 0; b < in.sequences; ++b) sum += from[(b * in.heads + head) * pitch + column];
    if (column < size) {
      if (da) da.put(head * in.channels + column % in.channels, column / in.channels, sum);
    } else if (dd) {
      dd.put(head, column - size, sum);
    }
  });
}

}  // namespace mixgrad::cuda
