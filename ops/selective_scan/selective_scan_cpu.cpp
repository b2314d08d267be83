// Above 400 lines: forward and backward share the chunk in the first cache, its loads and its inner loop.
// The chunked implementation on the CPU. Channels are innermost: a block of up to 64 of one head, padded with zeros to
// whole vectors, goes through time in chunks of 16 tokens, state after state, so that what a chunk needs stays in the
// first cache (28 KiB in f32). Every loop over channels is one the compiler vectorises.
//   The forward's tasks are (sequence, head, block). The backward's are (sequence, head, group of 256 channels): dB and
//   dC sum over a group in order within the task, over groups and sequences after it.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "core/scratch.h"
#include "ops/elementwise/functions.h"
#include "ops/selective_scan/scan_block.h"
#include "ops/selective_scan/selective_scan_kernels.h"
#include "ops/selective_scan/sequential.h"
#include "ops/support/lanes.h"
#include "ops/support/row_tasks.h"
#include "ops/support/target.h"

namespace mixgrad::cpu {
namespace {

constexpr std::int64_t kGroup = kScanTaskChannels;
constexpr double kLog2E = 1.44269504088896340736;
constexpr double kLn2 = 0.69314718055994530942;

// The inputs as rows: that of token t is rows.x[(sequence * steps + t) * heads + head].
template <class T>
struct ScanRows {
  Rows<T> x, dt, b, c;
  std::int64_t steps, heads, channels, states;

  explicit ScanRows(const ScanInputs& in)
      : x(in.x),
        dt(in.dt),
        b(in.b),
        c(in.c),
        steps(in.x.dim(1)),
        heads(in.x.dim(2)),
        channels(in.x.dim(3)),
        states(in.a_log.dim(2)) {}
};

// A log2(e) as [R,N,C]: exp(step A) = 2^(step A log2 e), and channels are innermost.
template <class T>
Tensor rates_by_state(const Tensor& a_log) {
  using A = acc_t<T>;
  const std::int64_t heads = a_log.dim(0);
  const std::int64_t channels = a_log.dim(1);
  const std::int64_t states = a_log.dim(2);
  Tensor rates = Tensor::empty({heads, states, channels}, dtype_of<A>());
  for (std::int64_t h = 0; h < heads; ++h) {
    for (std::int64_t c = 0; c < channels; ++c) {
      for (std::int64_t n = 0; n < states; ++n) {
        const A value = A(a_log.data<T>()[(h * channels + c) * states + n]);
        rates.data<A>()[(h * states + n) * channels + c] = -std::exp(value) * A(kLog2E);
      }
    }
  }
  return rates;
}

std::int64_t padded(std::int64_t width) { return (width + kLaneMultiple - 1) / kLaneMultiple * kLaneMultiple; }

// `count` values, and zeros up to whole lanes.
template <class T, class A>
void load_row(const T* from, std::int64_t count, A* to) {
  for (std::int64_t i = 0; i < count; ++i) to[i] = A(from[i]);
  for (std::int64_t i = count; i < padded(count); ++i) to[i] = A(0);
}

template <class T, class A>
void store_row(const A* from, std::int64_t count, bool add, T* to) {
  if (add) {
    for (std::int64_t i = 0; i < count; ++i) to[i] = static_cast<T>(A(to[i]) + from[i]);
  } else {
    for (std::int64_t i = 0; i < count; ++i) to[i] = static_cast<T>(from[i]);
  }
}

// Column n of `count` rows from `first` on, `stride` apart.
template <class T, class A>
void column(const Rows<T>& from, std::int64_t first, std::int64_t stride, std::int64_t n, std::int64_t count, A* to) {
  for (std::int64_t k = 0; k < count; ++k) to[k] = A(from[first + k * stride][n]);
}

// What both directions need of a chunk of one block.
template <class A>
struct ChunkInputs {
  ChunkArray<A> x;
  ChunkArray<A> step;
  ChunkArray<A> drive;  // step x
};

template <class T, class A>
void load_chunk(const ScanRows<T>& rows, std::int64_t first_row, std::int64_t count, std::int64_t channel,
                std::int64_t width, ChunkInputs<A>& in) {
  for (std::int64_t k = 0; k < count; ++k) {
    const std::int64_t r = first_row + k * rows.heads;
    load_row(rows.x[r] + channel, width, in.x[k]);
    load_row(rows.dt[r] + channel, width, in.step[k]);
#pragma omp simd
    for (std::int64_t i = 0; i < padded(width); ++i) {
      in.step[k][i] = functions::Softplus::f(in.step[k][i]);
      in.drive[k][i] = in.step[k][i] * in.x[k][i];
    }
  }
}

// One state of a chunk: s = 2^(step rate) s + drive b[k], y += c[k] s for its tokens. b and c are those of the state.
template <class A, bool Held>
void advance(const ChunkInputs<A>& in, const A* rate, const A* b, const A* c, std::int64_t tokens, std::int64_t count,
             A* s, ChunkArray<A>& y) {
  const std::int64_t width = Held ? kBlock : count;
  const LoopValue<A, Held> rates(rate);
  LoopValue<A, Held> states(s);
  for (std::int64_t k = 0; k < tokens; ++k) {
    const Vector<A> b_k = broadcast(b[k]);
    const Vector<A> c_k = broadcast(c[k]);
#pragma GCC unroll 4
    for (std::int64_t i = 0; i < width; i += kLanes<A>) {
      const Vector<A> decay = exp2_nonpositive(load(in.step[k] + i) * rates.get(rate, i));
      const Vector<A> state = decay * states.get(s, i) + load(in.drive[k] + i) * b_k;
      states.set(s, i, state);
      store(y[k] + i, load(y[k] + i) + state * c_k);
    }
  }
  states.put(s);
}

// One block of channels of one sequence and head, from the first token to the last.
template <class T>
void forward_block(const ScanRows<T>& rows, const Tensor& rates, const Tensor& d, std::int64_t sequence,
                   std::int64_t head, std::int64_t channel, const Tensor& state, const Tensor& saved,
                   const Rows<T>& out) {
  using A = acc_t<T>;
  const std::int64_t count = std::min(kBlock, rows.channels - channel);
  const std::int64_t width = padded(count);
  const std::int64_t size = rows.states * rows.channels;
  A* s = thread_scratch<A, 0>(2 * rows.states * kBlock);  // [N][64]
  A* rate = s + rows.states * kBlock;
  A* kept = state.defined() ? state.data<A>() + (sequence * rows.heads + head) * size + channel : nullptr;
  for (std::int64_t n = 0; n < rows.states; ++n) {
    load_row(rates.data<A>() + (head * rows.states + n) * rows.channels + channel, count, rate + n * kBlock);
    if (kept != nullptr) {
      load_row(kept + n * rows.channels, count, s + n * kBlock);
    } else {
      std::fill_n(s + n * kBlock, width, A(0));
    }
  }
  alignas(64) A skip[kBlock];
  load_row(d.data<T>() + head * rows.channels + channel, count, skip);
  ChunkInputs<A> in;
  ChunkArray<A> y;
  for (std::int64_t t = 0; t < rows.steps; t += kScanChunk) {
    const std::int64_t tokens = std::min(kScanChunk, rows.steps - t);
    const std::int64_t first = (sequence * rows.steps + t) * rows.heads + head;
    if (saved.defined()) {
      const std::int64_t offset = (sequence * saved.dim(1) + t / kScanChunk) * rows.heads + head;
      A* to = saved.data<A>() + offset * size + channel;
      for (std::int64_t n = 0; n < rows.states; ++n) std::copy_n(s + n * kBlock, count, to + n * rows.channels);
    }
    load_chunk(rows, first, tokens, channel, count, in);
    for (std::int64_t k = 0; k < tokens; ++k) {
      for (std::int64_t i = 0; i < width; ++i) y[k][i] = skip[i] * in.x[k][i];
    }
    for (std::int64_t n = 0; n < rows.states; ++n) {
      A b[kScanChunk];
      A c[kScanChunk];
      column(rows.b, first, rows.heads, n, tokens, b);
      column(rows.c, first, rows.heads, n, tokens, c);
      if (kHolds<A> && width == kBlock) {
        advance<A, kHolds<A>>(in, rate + n * kBlock, b, c, tokens, width, s + n * kBlock, y);
      } else {
        advance<A, false>(in, rate + n * kBlock, b, c, tokens, width, s + n * kBlock, y);
      }
    }
    for (std::int64_t k = 0; k < tokens; ++k) store_row(y[k], count, false, out[first + k * rows.heads] + channel);
  }
  if (kept == nullptr) return;
  for (std::int64_t n = 0; n < rows.states; ++n) std::copy_n(s + n * kBlock, count, kept + n * rows.channels);
}

template <class T>
void chunked_forward(const ScanInputs& in, const Tensor& state, const Tensor& saved, const Tensor& y) {
  const ScanRows<T> rows(in);
  const Rows<T> out(y);
  const Tensor rates = rates_by_state<T>(in.a_log);
  const std::int64_t blocks = (rows.channels + kBlock - 1) / kBlock;
  const std::int64_t count = in.x.dim(0) * rows.heads * blocks;
  // A task has at least 64 Ki states to advance: decoding a token is one task.
  const std::int64_t per_task =
      std::max<std::int64_t>(1, 65536 / std::max<std::int64_t>(1, rows.steps * rows.states * kBlock));
  parallel_rows(count, per_task, [&](std::int64_t begin, std::int64_t end, std::int64_t) {
    for (std::int64_t i = begin; i < end; ++i) {
      const std::int64_t pair = i / blocks;
      forward_block<T>(rows, rates, in.d, pair / rows.heads, pair % rows.heads, i % blocks * kBlock, state, saved, out);
    }
  });
}

// What the backward of a chunk of one block has besides: the cotangents, and the sums over states so far.
template <class A>
struct ChunkGradients {
  ChunkArray<A> g;
  ChunkArray<A> ddrive;  // sum_n L B
  ChunkArray<A> dstep;   // sum_n L A log2(e) a s
};

// The states of one n in a chunk: states[k] before token k, and its decay.
template <class A>
struct ChunkStates {
  ChunkArray<A> decay;
  ChunkArray<A, kScanChunk + 1> states;
};

template <class A, bool Held>
void recompute(const ChunkInputs<A>& in, const A* rate, const A* b, std::int64_t tokens, std::int64_t count,
               ChunkStates<A>& chunk) {
  const std::int64_t width = Held ? kBlock : count;
  const LoopValue<A, Held> rates(rate);
  LoopValue<A, Held> states(chunk.states[0]);
  for (std::int64_t k = 0; k < tokens; ++k) {
    const Vector<A> b_k = broadcast(b[k]);
#pragma GCC unroll 4
    for (std::int64_t i = 0; i < width; i += kLanes<A>) {
      const Vector<A> decay = exp2_nonpositive(load(in.step[k] + i) * rates.get(rate, i));
      store(chunk.decay[k] + i, decay);
      const Vector<A> state = decay * states.get(chunk.states[k], i) + load(in.drive[k] + i) * b_k;
      store(chunk.states[k + 1] + i, state);
      if constexpr (Held) states.set(nullptr, i, state);
    }
  }
}

// With a the decay and L = g c[k] + carry: carry = a L, drate += step a L s, and the sums of ChunkGradients; for each
// token the sums over channels db += L drive and dc += g s, s here the state after it.
template <class A, bool Held>
void retreat(const ChunkInputs<A>& in, const A* rate, const A* b, const A* c, const ChunkStates<A>& chunk,
             std::int64_t tokens, std::int64_t count, A* carry, A* drate, ChunkGradients<A>& out, A* db, A* dc) {
  const std::int64_t width = Held ? kBlock : count;
  const LoopValue<A, Held> rates(rate);
  LoopValue<A, Held> carries(carry);
  LoopValue<A, Held> drates(drate);
  for (std::int64_t k = tokens - 1; k >= 0; --k) {
    const Vector<A> b_k = broadcast(b[k]);
    const Vector<A> c_k = broadcast(c[k]);
    Vector<A> sum_b = broadcast(A(0));
    Vector<A> sum_c = broadcast(A(0));
#pragma GCC unroll 4
    for (std::int64_t i = 0; i < width; i += kLanes<A>) {
      const Vector<A> g = load(out.g[k] + i);
      const Vector<A> l = g * c_k + carries.get(carry, i);
      const Vector<A> al = load(chunk.decay[k] + i) * l;
      const Vector<A> als = al * load(chunk.states[k] + i);
      sum_c += g * load(chunk.states[k + 1] + i);
      sum_b += l * load(in.drive[k] + i);
      carries.set(carry, i, al);
      store(out.ddrive[k] + i, load(out.ddrive[k] + i) + l * b_k);
      store(out.dstep[k] + i, load(out.dstep[k] + i) + rates.get(rate, i) * als);
      drates.set(drate, i, drates.get(drate, i) + load(in.step[k] + i) * als);
    }
    db[k] = sum_of_lanes<A>(sum_b);
    dc[k] = sum_of_lanes<A>(sum_c);
  }
  carries.put(carry);
  drates.put(drate);
}

// A task of the backward: what it carries from chunk to chunk for each of its blocks, [blocks][N][64].
template <class A>
struct BackwardState {
  A* rate;
  A* carry;  // a_{t+1} L_{t+1}
  A* drate;
  A* dd;  // [blocks][64]
};

template <class T, class A>
void backward_chunk(const ScanRows<T>& rows, const Rows<T>& up, std::int64_t first, std::int64_t tokens,
                    std::int64_t channel, std::int64_t count, const A* saved, const A* skip, BackwardState<A> carried,
                    const ScanTargets& out, A* dbc) {
  const std::int64_t width = padded(count);
  ChunkInputs<A> in;
  ChunkGradients<A> sums;
  ChunkStates<A> chunk;
  load_chunk(rows, first, tokens, channel, count, in);
  for (std::int64_t k = 0; k < tokens; ++k) {
    load_row(up[first + k * rows.heads] + channel, count, sums.g[k]);
    std::fill_n(sums.ddrive[k], width, A(0));
    std::fill_n(sums.dstep[k], width, A(0));
    for (std::int64_t i = 0; i < width; ++i) carried.dd[i] += sums.g[k][i] * in.x[k][i];
  }
  for (std::int64_t n = 0; n < rows.states; ++n) {
    A b[kScanChunk];
    A c[kScanChunk];
    A db[kScanChunk];
    A dc[kScanChunk];
    column(rows.b, first, rows.heads, n, tokens, b);
    column(rows.c, first, rows.heads, n, tokens, c);
    load_row(saved + n * rows.channels, count, chunk.states[0]);
    const auto recompute_and_retreat = [&]<bool Held>() {
      const std::int64_t at = n * kBlock;
      recompute<A, Held>(in, carried.rate + at, b, tokens, width, chunk);
      retreat<A, Held>(in, carried.rate + at, b, c, chunk, tokens, width, carried.carry + at, carried.drate + at, sums,
                       db, dc);
    };
    if (kHolds<A> && width == kBlock) {
      recompute_and_retreat.template operator()<kHolds<A>>();
    } else {
      recompute_and_retreat.template operator()<false>();
    }
    for (std::int64_t k = 0; k < tokens; ++k) {
      dbc[k * 2 * rows.states + n] += db[k];
      dbc[(k * 2 + 1) * rows.states + n] += dc[k];
    }
  }
  const Rows<T> dx(out.x.tensor);
  const Rows<T> ddt(out.dt.tensor);
  alignas(64) A row[kBlock];
  for (std::int64_t k = 0; k < tokens; ++k) {
    const std::int64_t r = first + k * rows.heads;
    if (dx) {
      for (std::int64_t i = 0; i < width; ++i) row[i] = skip[i] * sums.g[k][i] + in.step[k][i] * sums.ddrive[k][i];
      store_row(row, count, out.x.add, dx[r] + channel);
    }
    if (ddt) {
      load_row(rows.dt[r] + channel, count, row);
#pragma omp simd
      for (std::int64_t i = 0; i < width; ++i) {
        row[i] = (in.x[k][i] * sums.ddrive[k][i] + A(kLn2) * sums.dstep[k][i]) * functions::Softplus::df(row[i]);
      }
      store_row(row, count, out.dt.add, ddt[r] + channel);
    }
  }
}

// Sums over sequences and groups of channels, in order.
template <class T, class A>
void reduce_inputs(const GradTarget& target, const Tensor& partial, std::int64_t column) {
  if (!target.tensor.defined()) return;
  const Target<T> to(target);
  const std::int64_t groups = partial.dim(0);
  const std::int64_t width = partial.dim(2);
  parallel_rows(to.rows.count, rows_per_task(to.rows.width * groups),
                [&](std::int64_t begin, std::int64_t end, std::int64_t) {
                  for (std::int64_t r = begin; r < end; ++r) {
                    for (std::int64_t n = 0; n < to.rows.width; ++n) {
                      A sum = 0;
                      for (std::int64_t g = 0; g < groups; ++g)
                        sum += partial.data<A>()[(g * to.rows.count + r) * width + column + n];
                      to.put(r, n, sum);
                    }
                  }
                });
}

// partial [B,R,N+1,C]: sums of step L a s (times A they are da_log), then of g x.
template <class A>
void reduce_parameters(const ScanTargets& out, const Tensor& rates, const Tensor& partial) {
  const std::int64_t heads = rates.dim(0);
  const std::int64_t states = rates.dim(1);
  const std::int64_t channels = rates.dim(2);
  const std::int64_t size = (states + 1) * channels;
  parallel_for(heads, [&](std::int64_t h) {
    A* total = partial.data<A>() + h * size;  // that of the first sequence
    for (std::int64_t s = 1; s < partial.dim(0); ++s) {
      const A* part = partial.data<A>() + (s * heads + h) * size;
      for (std::int64_t i = 0; i < size; ++i) total[i] += part[i];
    }
    for (std::int64_t c = 0; c < channels; ++c) {
      for (std::int64_t n = 0; n < states && out.a_log.tensor.defined(); ++n) {
        const A rate = rates.data<A>()[(h * states + n) * channels + c] * A(kLn2);
        put(out.a_log.tensor.data<A>()[(h * channels + c) * states + n], out.a_log.add, total[n * channels + c] * rate);
      }
      if (out.d.tensor.defined()) {
        put(out.d.tensor.data<A>()[h * channels + c], out.d.add, total[states * channels + c]);
      }
    }
  });
}

template <class T>
void chunked_backward(const ScanInputs& in, const Tensor& saved, const Tensor& dy, const ScanTargets& out) {
  using A = acc_t<T>;
  const ScanRows<T> rows(in);
  const Rows<T> up(dy);
  const Tensor rates = rates_by_state<T>(in.a_log);
  const std::int64_t states = rows.states;
  const std::int64_t batch = in.x.dim(0);
  const std::int64_t groups = (rows.channels + kGroup - 1) / kGroup;
  const Tensor dbc = Tensor::empty({groups, batch * rows.steps * rows.heads, 2 * states}, dtype_of<A>());
  const Tensor parameters = Tensor::empty({batch, rows.heads, states + 1, rows.channels}, dtype_of<A>());
  parallel_for(batch * rows.heads * groups, [&](std::int64_t task) {
    const std::int64_t group = task % groups;
    const std::int64_t head = task / groups % rows.heads;
    const std::int64_t sequence = task / groups / rows.heads;
    const std::int64_t begin = group * kGroup;
    const std::int64_t end = std::min(rows.channels, begin + kGroup);
    const std::int64_t all = states * kGroup;
    A* memory = thread_scratch<A, 0>(3 * all + 2 * kGroup + kScanChunk * 2 * states);
    std::fill_n(memory, 3 * all + 2 * kGroup, A(0));
    BackwardState<A> carried{memory, memory + all, memory + 2 * all, memory + 3 * all};
    A* skip = memory + 3 * all + kGroup;
    A* sums = skip + kGroup;  // [16][2N]
    for (std::int64_t c = begin; c < end; ++c) {
      const std::int64_t offset = (c - begin) / kBlock * kBlock * states + (c - begin) % kBlock;
      for (std::int64_t n = 0; n < states; ++n) {
        carried.rate[offset + n * kBlock] = rates.data<A>()[(head * states + n) * rows.channels + c];
      }
      skip[c - begin] = A(in.d.data<T>()[head * rows.channels + c]);
    }
    for (std::int64_t t = (rows.steps - 1) / kScanChunk * kScanChunk; t >= 0; t -= kScanChunk) {
      const std::int64_t tokens = std::min(kScanChunk, rows.steps - t);
      const std::int64_t first = (sequence * rows.steps + t) * rows.heads + head;
      const std::int64_t chunk = (sequence * saved.dim(1) + t / kScanChunk) * rows.heads + head;
      std::fill_n(sums, tokens * 2 * states, A(0));
      for (std::int64_t c = begin; c < end; c += kBlock) {
        const std::int64_t offset = (c - begin) * states;
        const BackwardState<A> block{carried.rate + offset, carried.carry + offset, carried.drate + offset,
                                     carried.dd + c - begin};
        backward_chunk<T, A>(rows, up, first, tokens, c, std::min(kBlock, end - c),
                             saved.data<A>() + chunk * states * rows.channels + c, skip + c - begin, block, out, sums);
      }
      for (std::int64_t k = 0; k < tokens; ++k) {
        const std::int64_t row = group * dbc.dim(1) + first + k * rows.heads;
        std::copy_n(sums + k * 2 * states, 2 * states, dbc.data<A>() + row * 2 * states);
      }
    }
    A* totals = parameters.data<A>() + (sequence * rows.heads + head) * (states + 1) * rows.channels;
    for (std::int64_t c = begin; c < end; ++c) {
      const std::int64_t offset = (c - begin) / kBlock * kBlock * states + (c - begin) % kBlock;
      for (std::int64_t n = 0; n < states; ++n) totals[n * rows.channels + c] = carried.drate[offset + n * kBlock];
      totals[states * rows.channels + c] = carried.dd[c - begin];
    }
  });
  reduce_inputs<T, A>(out.b, dbc, 0);
  reduce_inputs<T, A>(out.c, dbc, states);
  reduce_parameters<A>(out, rates, parameters);
}

}  // namespace

void selective_scan_forward(const ScanInputs& in, ScanImplementation implementation, const Tensor& state,
                            const Tensor& saved, const Tensor& y) {
  dispatch_float(in.x.dtype(), "selective_scan", [&]<class T>() {
    if (implementation == ScanImplementation::sequential) return sequential::forward<T>(in, state, saved, y);
    chunked_forward<T>(in, state, saved, y);
  });
}

void selective_scan_backward(const ScanInputs& in, ScanImplementation implementation, const Tensor& saved,
                             const Tensor& dy, const ScanTargets& out) {
  dispatch_float(in.x.dtype(), "selective_scan", [&]<class T>() {
    if (implementation == ScanImplementation::sequential) return sequential::backward<T>(in, dy, out);
    chunked_backward<T>(in, saved, dy, out);
  });
}

}  // namespace mixgrad::cpu
