// The naive implementation: a thread walks through time with the states of one channel. The backward has one block for
// each sequence and head, which sums dB and dC over its channels; what a chunk of tokens needs is computed again into
// device memory. Any number of states.
#pragma once

#include "ops/selective_scan/selective_scan_rows.cuh"

namespace mixgrad::cuda::naive_scan {

template <class T>
void forward(const ScanInputs& inputs, const Tensor& state, const Tensor& saved, const Tensor& y) {
  using A = acc_t<T>;
  const ScanRows<T> in(inputs);
  const Rows<T> out(y);
  const Shape shape{in.sequences, in.heads, in.states, in.channels};
  const Tensor states = state.defined() ? state : Tensor::zeros(shape, dtype_of<A>(), y.device());
  A* s = states.data<A>();
  A* kept = saved.defined() ? saved.data<A>() : nullptr;
  const std::int64_t chunks = (in.steps + kScanChunk - 1) / kScanChunk;
  for_each("selective_scan", y.device(), y.dim(0) * in.heads * in.channels, [=] __device__(std::int64_t item) {
    const std::int64_t ch = item % in.channels;
    const std::int64_t head = item / in.channels % in.heads;
    const std::int64_t sequence = item / in.channels / in.heads;
    const std::int64_t size = in.states * in.channels;
    A* mine = s + (sequence * in.heads + head) * size + ch;
    for (std::int64_t t = 0; t < in.steps; ++t) {
      const std::int64_t r = in.row(sequence, t, head);
      if (kept != nullptr && t % kScanChunk == 0) {
        A* to = kept + ((sequence * chunks + t / kScanChunk) * in.heads + head) * size + ch;
        for (std::int64_t n = 0; n < in.states; ++n) to[n * in.channels] = mine[n * in.channels];
      }
      const A step = in.step(r, ch);
      const A x = A(in.x[r][ch]);
      A sum = A(in.d[head * in.channels + ch]) * x;
      for (std::int64_t n = 0; n < in.states; ++n) {
        A& now = mine[n * in.channels];
        now = std::exp(step * in.rate(head, ch, n)) * now + step * x * A(in.b[r][n]);
        sum += A(in.c[r][n]) * now;
      }
      out[r][ch] = static_cast<T>(sum);
    }
  });
}

// Device memory of one sequence and head, in elements of A: the states of a chunk [17,N,C], a_{t+1} L_{t+1} [N,C], the
// sums of da_log [N,C] and dd [C], and dx and dstep of the token at hand [2,C].
struct Scratch {
  std::int64_t size, channels;  // N C, C

  __host__ __device__ std::int64_t total() const { return (kScanChunk + 3) * size + 3 * channels; }
  __host__ __device__ std::int64_t carry() const { return (kScanChunk + 1) * size; }
  __host__ __device__ std::int64_t sums() const { return (kScanChunk + 2) * size; }
  __host__ __device__ std::int64_t token() const { return (kScanChunk + 3) * size + channels; }
};

template <class T>
struct Gradients {
  using A = acc_t<T>;

  ScanRows<T> in;
  Rows<T> up;
  const A* saved;
  A* scratch;
  Target<T> dx, ddt, db, dc;

  // The states before each token of a chunk, and behind the last, of the thread's channels.
  __device__ void states_of_chunk(std::int64_t sequence, std::int64_t head, std::int64_t chunk, std::int64_t count,
                                  A* states) const {
    const std::int64_t size = in.states * in.channels;
    const std::int64_t chunks = (in.steps + kScanChunk - 1) / kScanChunk;
    const A* start = saved + ((sequence * chunks + chunk) * in.heads + head) * size;
    for (std::int64_t ch = threadIdx.x; ch < in.channels; ch += kRowThreads) {
      for (std::int64_t n = 0; n < in.states; ++n) {
        const A rate = in.rate(head, ch, n);
        A state = start[n * in.channels + ch];
        states[n * in.channels + ch] = state;
        for (std::int64_t k = 0; k < count; ++k) {
          const std::int64_t r = in.row(sequence, chunk * kScanChunk + k, head);
          const A step = in.step(r, ch);
          state = std::exp(step * rate) * state + step * A(in.x[r][ch]) * A(in.b[r][n]);
          states[(k + 1) * size + n * in.channels + ch] = state;
        }
      }
    }
  }

  // Token row r; `before` and `after` are the states around it.
  __device__ void token(std::int64_t r, std::int64_t head, const A* before, const A* after, A* mine,
                        const Scratch& at) const {
    A* carry = mine + at.carry();
    A* sums = mine + at.sums();
    A* sum_x = mine + at.token();
    A* sum_step = sum_x + in.channels;
    for (std::int64_t ch = threadIdx.x; ch < in.channels; ch += kRowThreads) {
      const A g = A(up[r][ch]);
      sum_x[ch] = A(in.d[head * in.channels + ch]) * g;
      sum_step[ch] = 0;
      sums[at.size + ch] += g * A(in.x[r][ch]);
    }
    for (std::int64_t n = 0; n < in.states; ++n) {
      A sum_b = 0;
      A sum_c = 0;
      for (std::int64_t ch = threadIdx.x; ch < in.channels; ch += kRowThreads) {
        const std::int64_t i = n * in.channels + ch;
        const A g = A(up[r][ch]);
        const A x = A(in.x[r][ch]);
        const A step = in.step(r, ch);
        const A rate = in.rate(head, ch, n);
        const A decay = std::exp(step * rate);
        const A b = A(in.b[r][n]);
        const A l = g * A(in.c[r][n]) + carry[i];
        sum_x[ch] += l * step * b;
        sum_step[ch] += l * (b * x + rate * decay * before[i]);
        sums[i] += l * step * decay * before[i] * rate;
        sum_b += l * step * x;
        sum_c += g * after[i];
        carry[i] = decay * l;
      }
      sum_b = block_sum(sum_b);
      sum_c = block_sum(sum_c);
      if (threadIdx.x != 0) continue;
      if (db) db.put(r, n, sum_b);
      if (dc) dc.put(r, n, sum_c);
    }
    for (std::int64_t ch = threadIdx.x; ch < in.channels; ch += kRowThreads) {
      if (dx) dx.put(r, ch, sum_x[ch]);
      if (ddt) ddt.put(r, ch, sum_step[ch] * functions::Softplus::df(A(in.dt[r][ch])));
    }
  }

  // A block for each sequence and head.
  __device__ void operator()(std::int64_t item) const {
    const std::int64_t sequence = item / in.heads;
    const std::int64_t head = item % in.heads;
    const Scratch at{in.states * in.channels, in.channels};
    A* mine = scratch + item * at.total();
    for (std::int64_t ch = threadIdx.x; ch < in.channels; ch += kRowThreads) {
      for (std::int64_t n = 0; n < in.states; ++n) {
        mine[at.carry() + n * in.channels + ch] = 0;
        mine[at.sums() + n * in.channels + ch] = 0;
      }
      mine[at.sums() + at.size + ch] = 0;
    }
    for (std::int64_t chunk = (in.steps - 1) / kScanChunk; chunk >= 0; --chunk) {
      const std::int64_t left = in.steps - chunk * kScanChunk;
      const std::int64_t count = left < kScanChunk ? left : kScanChunk;
      states_of_chunk(sequence, head, chunk, count, mine);
      for (std::int64_t k = count - 1; k >= 0; --k) {
        token(in.row(sequence, chunk * kScanChunk + k, head), head, mine + k * at.size, mine + (k + 1) * at.size, mine,
              at);
      }
    }
  }
};

template <class T>
void backward(const ScanInputs& inputs, const Tensor& saved, const Tensor& dy, const ScanTargets& out) {
  using A = acc_t<T>;
  const ScanRows<T> in(inputs);
  const Scratch at{in.states * in.channels, in.channels};
  const Tensor scratch = Tensor::empty({in.sequences * in.heads, at.total()}, dtype_of<A>(), dy.device());
  for_each_row("selective_scan", dy.device(), in.sequences * in.heads,
               Gradients<T>{in, Rows<T>(dy), saved.data<A>(), scratch.data<A>(), Target<T>(out.x.tensor, out.x.add),
                            Target<T>(out.dt.tensor, out.dt.add), Target<T>(out.b.tensor, out.b.add),
                            Target<T>(out.c.tensor, out.c.add)});
  parameter_sums<T>(in, scratch.data<A>() + at.sums(), at.total(), dy.device(), out);
}

}  // namespace mixgrad::cuda::naive_scan
