#include "core/cuda/chunk_rows.cuh"
#include "core/cuda/hardware_float.cuh"
#include "core/numeric/vec_math.h"
#include "ops/gate_blend/gate_blend_kernels.h"

namespace mixgrad::cuda {
namespace {

// sigmoid of a gate; of bf16 by the hardware's exponential and division, as elementwise functions have it.
template <class T>
__device__ acc_t<T> weight_of(T gate) {
  return acc_t<T>(sigmoid_value(function_t<T>(acc_t<T>(gate))));
}

// The same formulas by chunks of 16 bytes: it takes whole chunks only, and less time.
template <class T>
void forward_chunks(const Tensor& gate, const Tensor& u, const Tensor& z, const Tensor& y) {
  using A = acc_t<T>;
  using C = Chunk<T>;
  const ChunkRows<T> p(gate);
  const ChunkRows<T> a(u);
  const ChunkRows<T> b(z);
  const ChunkRows<T> out(y);
  for_each_cell(
      "gate_blend", gate.device(), gate.rows(), gate.cols() / C::kSize, [=] __device__(std::int64_t r, std::int64_t i) {
        const C gates = p.at(r, i);
        const C first = a.at(r, i);
        const C second = b.at(r, i);
        C result;
#pragma unroll
        for (int e = 0; e < C::kSize; ++e) {
          const A other = A(second.values[e]);
          result.values[e] = static_cast<T>(other + weight_of(gates.values[e]) * (A(first.values[e]) - other));
        }
        out.at(r, i) = result;
      });
}

// Adds to, or writes, a chunk of a gradient that may be unwanted.
template <class T>
struct ChunkTarget {
  ChunkRows<T> to;
  bool add;

  explicit ChunkTarget(const GradTarget& target) : to(target.tensor), add(target.add) {}
  template <class F>
  __device__ void put(std::int64_t r, std::int64_t i, const F& value) const {
    if (!to) return;
    Chunk<T> result = add ? to.at(r, i) : Chunk<T>{};
#pragma unroll
    for (int e = 0; e < Chunk<T>::kSize; ++e) {
      result.values[e] = static_cast<T>(add ? acc_t<T>(result.values[e]) + value(e) : value(e));
    }
    to.at(r, i) = result;
  }
};

template <class T>
void backward_chunks(const Tensor& gate, const Tensor& u, const Tensor& z, const Tensor& dy, const GradTarget& dgate,
                     const GradTarget& du, const GradTarget& dz) {
  using A = acc_t<T>;
  using C = Chunk<T>;
  const ChunkRows<T> p(gate);
  const ChunkRows<T> a(u);
  const ChunkRows<T> b(z);
  const ChunkRows<T> up(dy);
  const ChunkTarget<T> to_gate(dgate);
  const ChunkTarget<T> to_u(du);
  const ChunkTarget<T> to_z(dz);
  for_each_cell("gate_blend", gate.device(), gate.rows(), gate.cols() / C::kSize,
                [=] __device__(std::int64_t r, std::int64_t i) {
                  const C gates = p.at(r, i);
                  const C first = a.at(r, i);
                  const C second = b.at(r, i);
                  const C slope = up.at(r, i);
                  A weights[C::kSize];
#pragma unroll
                  for (int e = 0; e < C::kSize; ++e) weights[e] = weight_of(gates.values[e]);
                  to_gate.put(r, i, [&](int e) {
                    const A difference = A(first.values[e]) - A(second.values[e]);
                    return A(slope.values[e]) * difference * weights[e] * (A(1) - weights[e]);
                  });
                  to_u.put(r, i, [&](int e) { return A(slope.values[e]) * weights[e]; });
                  to_z.put(r, i, [&](int e) { return A(slope.values[e]) * (A(1) - weights[e]); });
                });
}

template <class T>
void forward(const Tensor& gate, const Tensor& u, const Tensor& z, const Tensor& y) {
  if (are_chunk_rows({&gate, &u, &z, &y})) return forward_chunks<T>(gate, u, z, y);
  using A = acc_t<T>;
  const Rows<T> p(gate);
  const Rows<T> a(u);
  const Rows<T> b(z);
  const Rows<T> out(y);
  for_each_cell("gate_blend", gate.device(), p.count, p.width, [=] __device__(std::int64_t r, std::int64_t c) {
    out[r][c] = static_cast<T>(A(b[r][c]) + sigmoid_value(A(p[r][c])) * (A(a[r][c]) - A(b[r][c])));
  });
}

template <class T>
void backward(const Tensor& gate, const Tensor& u, const Tensor& z, const Tensor& dy, const GradTarget& dgate,
              const GradTarget& du, const GradTarget& dz) {
  if (are_chunk_rows({&gate, &u, &z, &dy, &dgate.tensor, &du.tensor, &dz.tensor})) {
    return backward_chunks<T>(gate, u, z, dy, dgate, du, dz);
  }
  using A = acc_t<T>;
  const Rows<T> p(gate);
  const Rows<T> a(u);
  const Rows<T> b(z);
  const Rows<T> up(dy);
  const Target<T> to_gate(dgate.tensor, dgate.add);
  const Target<T> to_u(du.tensor, du.add);
  const Target<T> to_z(dz.tensor, dz.add);
  for_each_cell("gate_blend", gate.device(), p.count, p.width, [=] __device__(std::int64_t r, std::int64_t c) {
    const A g = A(up[r][c]);
    const A s = sigmoid_value(A(p[r][c]));
    if (to_gate) to_gate.put(r, c, g * (A(a[r][c]) - A(b[r][c])) * s * (A(1) - s));
    if (to_u) to_u.put(r, c, g * s);
    if (to_z) to_z.put(r, c, g * (A(1) - s));
  });
}

}  // namespace

void gate_blend_forward(const Tensor& gate, const Tensor& u, const Tensor& z, const Tensor& y) {
  dispatch_float(gate.dtype(), "gate_blend", [&]<class T>() { forward<T>(gate, u, z, y); });
}

void gate_blend_backward(const Tensor& gate, const Tensor& u, const Tensor& z, const Tensor& dy,
                         const GradTarget& dgate, const GradTarget& du, const GradTarget& dz) {
  dispatch_float(gate.dtype(), "gate_blend", [&]<class T>() { backward<T>(gate, u, z, dy, dgate, du, dz); });
}

}  // namespace mixgrad::cuda
