// Private to ops/selective_scan: the sequential implementation on the CPU, plain loops in the order of the formulas.
// One sequence of one head is a task; its backward keeps all states.
#pragma once

#include <cmath>
#include <vector>

#include "ops/elementwise/functions.h"
#include "ops/selective_scan/selective_scan_kernels.h"
#include "ops/support/row_tasks.h"
#include "ops/support/target.h"

namespace mixgrad::cpu::sequential {

// The scan from s[N,C] on; `keep(t, s)` sees the states before each token. y may be null.
template <class T, class Keep>
void scan(const ScanInputs& in, std::int64_t sequence, std::int64_t head, acc_t<T>* s, const Tensor& y,
          const Keep& keep) {
  using A = acc_t<T>;
  const Rows<T> x(in.x), dt(in.dt), b(in.b), c(in.c), out(y);
  const std::int64_t steps = in.x.dim(1), heads = in.x.dim(2), channels = in.x.dim(3), states = in.a_log.dim(2);
  const T* a_log = in.a_log.data<T>() + head * channels * states;
  const T* d = in.d.data<T>() + head * channels;
  for (std::int64_t t = 0; t < steps; ++t) {
    const std::int64_t r = (sequence * steps + t) * heads + head;
    keep(t, s);
    for (std::int64_t ch = 0; ch < channels; ++ch) {
      const A step = functions::Softplus::f(A(dt[r][ch]));
      A sum = A(d[ch]) * A(x[r][ch]);
      for (std::int64_t n = 0; n < states; ++n) {
        A& state = s[n * channels + ch];
        const A decay = std::exp(-step * std::exp(A(a_log[ch * states + n])));
        state = decay * state + step * A(x[r][ch]) * A(b[r][n]);
        sum += A(c[r][n]) * state;
      }
      if (out) out[r][ch] = static_cast<T>(sum);
    }
  }
}

template <class T>
void forward(const ScanInputs& in, const Tensor& state, const Tensor& saved, const Tensor& y) {
  using A = acc_t<T>;
  const std::int64_t heads = in.x.dim(2), size = in.a_log.dim(2) * in.x.dim(3);
  parallel_for(in.x.dim(0) * heads, [&](std::int64_t task) {
    std::vector<A> fresh(static_cast<std::size_t>(size));
    A* s = state.defined() ? state.data<A>() + task * size : fresh.data();
    scan<T>(in, task / heads, task % heads, s, y, [&](std::int64_t t, const A* before) {
      if (!saved.defined() || t % kScanChunk != 0) return;
      const std::int64_t chunk = (task / heads * saved.dim(1) + t / kScanChunk) * heads + task % heads;
      std::copy_n(before, size, saved.data<A>() + chunk * size);
    });
  });
}

// One sequence of one head. `parameters`: the sums of da_log [C,N], then dd [C], to which this sequence is added.
template <class T>
void backward_sequence(const ScanInputs& in, std::int64_t sequence, std::int64_t head, const Tensor& dy,
                       const ScanTargets& out, acc_t<T>* parameters) {
  using A = acc_t<T>;
  const Rows<T> x(in.x), dt(in.dt), b(in.b), c(in.c), up(dy);
  const std::int64_t steps = in.x.dim(1), heads = in.x.dim(2), channels = in.x.dim(3), states = in.a_log.dim(2);
  const std::int64_t size = states * channels;
  const T* a_log = in.a_log.data<T>() + head * size;
  const T* d = in.d.data<T>() + head * channels;
  std::vector<A> s(static_cast<std::size_t>((steps + 1) * size));  // s[t]: before token t
  std::vector<A> running(static_cast<std::size_t>(size));
  scan<T>(in, sequence, head, running.data(), Tensor(),
          [&](std::int64_t t, const A* before) { std::copy_n(before, size, s.data() + t * size); });
  std::copy_n(running.data(), size, s.data() + steps * size);
  std::vector<A> carry(static_cast<std::size_t>(size));  // a_{t+1} L_{t+1}
  for (std::int64_t t = steps - 1; t >= 0; --t) {
    const std::int64_t r = (sequence * steps + t) * heads + head;
    std::vector<A> db(static_cast<std::size_t>(states)), dc(static_cast<std::size_t>(states));
    for (std::int64_t ch = 0; ch < channels; ++ch) {
      const A xv = A(x[r][ch]), g = A(up[r][ch]), step = functions::Softplus::f(A(dt[r][ch]));
      A dx = A(d[ch]) * g, dstep = 0;
      for (std::int64_t n = 0; n < states; ++n) {
        const auto i = static_cast<std::size_t>(n * channels + ch);
        const auto at = static_cast<std::size_t>(t * size) + i;
        const A rate = -std::exp(A(a_log[ch * states + n]));
        const A decay = std::exp(step * rate), bn = A(b[r][n]);
        const A l = g * A(c[r][n]) + carry[i];
        dx += l * step * bn;
        dstep += l * (bn * xv + rate * decay * s[at]);
        parameters[ch * states + n] += l * step * decay * s[at] * rate;
        db[static_cast<std::size_t>(n)] += l * step * xv;
        dc[static_cast<std::size_t>(n)] += g * s[at + static_cast<std::size_t>(size)];
        carry[i] = decay * l;
      }
      parameters[size + ch] += g * xv;
      Target<T>(out.x).put(r, ch, dx);
      Target<T>(out.dt).put(r, ch, dstep * functions::Softplus::df(A(dt[r][ch])));
    }
    for (std::int64_t n = 0; n < states; ++n) {
      Target<T>(out.b).put(r, n, db[static_cast<std::size_t>(n)]);
      Target<T>(out.c).put(r, n, dc[static_cast<std::size_t>(n)]);
    }
  }
}

template <class T>
void backward(const ScanInputs& in, const Tensor& dy, const ScanTargets& out) {
  using A = acc_t<T>;
  const std::int64_t heads = in.x.dim(2), channels = in.x.dim(3), states = in.a_log.dim(2);
  parallel_for(heads, [&](std::int64_t head) {
    std::vector<A> sums(static_cast<std::size_t>((states + 1) * channels));
    for (std::int64_t n = 0; n < in.x.dim(0); ++n) backward_sequence<T>(in, n, head, dy, out, sums.data());
    for (std::int64_t ch = 0; ch < channels; ++ch) {
      for (std::int64_t n = 0; n < states; ++n) {
        Target<A>(out.a_log).put(head * channels + ch, n, sums[static_cast<std::size_t>(ch * states + n)]);
      }
      Target<A>(out.d).put(head, ch, sums[static_cast<std::size_t>(channels * states + ch)]);
    }
  });
}

}  // namespace mixgrad::cpu::sequential
