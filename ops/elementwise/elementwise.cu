#include "core/cuda/chunk_rows.cuh"
#include "core/cuda/hardware_float.cuh"
#include "core/cuda/launch.cuh"
#include "ops/elementwise/elementwise_kernels.h"

namespace mixgrad::cuda {
namespace {

// erf has no approximation in hardware.
template <class Function, class T>
using value_t = std::conditional_t<std::is_same_v<Function, functions::GeluErf>, acc_t<T>, function_t<T>>;

// 16 bytes a thread: with one element a thread bf16 reached half of the memory's bandwidth.
template <class Function, class T>
void forward_chunks(const Tensor& x, const Tensor& y) {
  using C = Chunk<T>;
  const C* in = reinterpret_cast<const C*>(x.data<T>());
  C* out = reinterpret_cast<C*>(y.data<T>());
  for_each("unary function", x.device(), x.numel() / C::kSize, [=] __device__(std::int64_t i) {
    C chunk = in[i];
#pragma unroll
    for (T& value : chunk.values) value = static_cast<T>(Function::f(value_t<Function, T>(value)));
    out[i] = chunk;
  });
}

template <class Function, class T>
void backward_chunks(const Tensor& x, const Tensor& dy, const GradTarget& dx) {
  using A = acc_t<T>;
  using C = Chunk<T>;
  const C* in = reinterpret_cast<const C*>(x.data<T>());
  const C* up = reinterpret_cast<const C*>(dy.data<T>());
  C* out = reinterpret_cast<C*>(dx.tensor.data<T>());
  const bool add = dx.add;
  for_each("unary function", x.device(), x.numel() / C::kSize, [=] __device__(std::int64_t i) {
    const C from = in[i];
    const C slope = up[i];
    C to = add ? out[i] : C{};
#pragma unroll
    for (int k = 0; k < C::kSize; ++k) {
      const A value = A(slope.values[k]) * A(Function::df(value_t<Function, T>(from.values[k])));
      to.values[k] = static_cast<T>(add ? A(to.values[k]) + value : value);
    }
    out[i] = to;
  });
}

template <class Function, class T>
void forward(const Tensor& x, const Tensor& y) {
  if (are_chunks({&x, &y})) return forward_chunks<Function, T>(x, y);
  const Rows<T> in(x);
  const Rows<T> out(y);
  for_each_cell("unary function", x.device(), in.count, in.width, [=] __device__(std::int64_t r, std::int64_t c) {
    out[r][c] = static_cast<T>(Function::f(value_t<Function, T>(in[r][c])));
  });
}

template <class Function, class T>
void backward(const Tensor& x, const Tensor& dy, const GradTarget& dx) {
  if (are_chunks({&x, &dy, &dx.tensor})) return backward_chunks<Function, T>(x, dy, dx);
  using A = acc_t<T>;
  const Rows<T> in(x);
  const Rows<T> up(dy);
  const Target<T> out(dx.tensor, dx.add);
  for_each_cell("unary function", x.device(), in.count, in.width, [=] __device__(std::int64_t r, std::int64_t c) {
    out.put(r, c, A(up[r][c]) * A(Function::df(value_t<Function, T>(in[r][c]))));
  });
}

template <class T>
void swiglu_chunks(const Tensor& gate, const Tensor& up, const Tensor& y) {
  using A = acc_t<T>;
  using C = Chunk<T>;
  const ChunkRows<T> g(gate);
  const ChunkRows<T> u(up);
  const ChunkRows<T> out(y);
  for_each_cell(
      "swiglu", gate.device(), gate.rows(), gate.cols() / C::kSize, [=] __device__(std::int64_t r, std::int64_t i) {
        const C a = g.at(r, i);
        const C b = u.at(r, i);
        C result;
#pragma unroll
        for (int k = 0; k < C::kSize; ++k) {
          result.values[k] = static_cast<T>(A(functions::Silu::f(function_t<T>(a.values[k]))) * A(b.values[k]));
        }
        out.at(r, i) = result;
      });
}

template <class T>
void swiglu(const Tensor& gate, const Tensor& up, const Tensor& y) {
  if (are_chunk_rows({&gate, &up, &y})) return swiglu_chunks<T>(gate, up, y);
  using A = acc_t<T>;
  const Rows<T> g(gate);
  const Rows<T> u(up);
  const Rows<T> out(y);
  for_each_cell("swiglu", gate.device(), g.count, g.width, [=] __device__(std::int64_t r, std::int64_t c) {
    out[r][c] = static_cast<T>(A(functions::Silu::f(function_t<T>(g[r][c]))) * A(u[r][c]));
  });
}

template <class T>
void swiglu_gradient_chunks(const Tensor& gate, const Tensor& up, const Tensor& dy, const GradTarget& dgate,
                            const GradTarget& dup) {
  using A = acc_t<T>;
  using C = Chunk<T>;
  const ChunkRows<T> g(gate);
  const ChunkRows<T> u(up);
  const ChunkRows<T> d(dy);
  const ChunkRows<T> to_gate(dgate.tensor);
  const ChunkRows<T> to_up(dup.tensor);
  const bool add_gate = dgate.add;
  const bool add_up = dup.add;
  for_each_cell(
      "swiglu", gate.device(), gate.rows(), gate.cols() / C::kSize, [=] __device__(std::int64_t r, std::int64_t i) {
        const C a = g.at(r, i);
        const C b = u.at(r, i);
        const C slope = d.at(r, i);
        if (to_gate) {
          C result = add_gate ? to_gate.at(r, i) : C{};
#pragma unroll
          for (int k = 0; k < C::kSize; ++k) {
            const A value = A(slope.values[k]) * A(b.values[k]) * A(functions::Silu::df(function_t<T>(a.values[k])));
            result.values[k] = static_cast<T>(add_gate ? A(result.values[k]) + value : value);
          }
          to_gate.at(r, i) = result;
        }
        if (to_up) {
          C result = add_up ? to_up.at(r, i) : C{};
#pragma unroll
          for (int k = 0; k < C::kSize; ++k) {
            const A value = A(slope.values[k]) * A(functions::Silu::f(function_t<T>(a.values[k])));
            result.values[k] = static_cast<T>(add_up ? A(result.values[k]) + value : value);
          }
          to_up.at(r, i) = result;
        }
      });
}

template <class T>
void swiglu_gradient(const Tensor& gate, const Tensor& up, const Tensor& dy, const GradTarget& dgate,
                     const GradTarget& dup) {
  if (are_chunk_rows({&gate, &up, &dy, &dgate.tensor, &dup.tensor})) {
    return swiglu_gradient_chunks<T>(gate, up, dy, dgate, dup);
  }
  using A = acc_t<T>;
  const Rows<T> g(gate);
  const Rows<T> u(up);
  const Rows<T> d(dy);
  const Target<T> to_gate(dgate.tensor, dgate.add);
  const Target<T> to_up(dup.tensor, dup.add);
  for_each_cell("swiglu", gate.device(), g.count, g.width, [=] __device__(std::int64_t r, std::int64_t c) {
    const function_t<T> a(g[r][c]);
    if (to_gate) to_gate.put(r, c, A(d[r][c]) * A(u[r][c]) * A(functions::Silu::df(a)));
    if (to_up) to_up.put(r, c, A(d[r][c]) * A(functions::Silu::f(a)));
  });
}

template <class T>
void add(const Tensor& a, const Tensor& b, const Tensor& y) {
  using A = acc_t<T>;
  const Rows<T> left(a);
  const Rows<T> right(b);
  const Rows<T> out(y);
  for_each_cell("add", a.device(), left.count, left.width, [=] __device__(std::int64_t r, std::int64_t c) {
    out[r][c] = static_cast<T>(A(left[r][c]) + A(right[r][c]));
  });
}

}  // namespace

void unary_forward(UnaryFunction function, const Tensor& x, const Tensor& y) {
  dispatch_unary(function, [&]<class Function>() {
    dispatch_float(x.dtype(), "unary function", [&]<class T>() { forward<Function, T>(x, y); });
  });
}

void unary_backward(UnaryFunction function, const Tensor& x, const Tensor& dy, const GradTarget& dx) {
  dispatch_unary(function, [&]<class Function>() {
    dispatch_float(x.dtype(), "unary function", [&]<class T>() { backward<Function, T>(x, dy, dx); });
  });
}

void swiglu_forward(const Tensor& gate, const Tensor& up, const Tensor& y) {
  dispatch_float(gate.dtype(), "swiglu", [&]<class T>() { swiglu<T>(gate, up, y); });
}

void swiglu_backward(const Tensor& gate, const Tensor& up, const Tensor& dy, const GradTarget& dgate,
                     const GradTarget& dup) {
  dispatch_float(gate.dtype(), "swiglu", [&]<class T>() { swiglu_gradient<T>(gate, up, dy, dgate, dup); });
}

void add_forward(const Tensor& a, const Tensor& b, const Tensor& y) {
  dispatch_float(a.dtype(), "add", [&]<class T>() { add<T>(a, b, y); });
}

}  // namespace mixgrad::cuda
