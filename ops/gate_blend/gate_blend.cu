#include "core/cuda/launch.cuh"
#include "core/numeric/vec_math.h"
#include "ops/gate_blend/gate_blend_kernels.h"

namespace mixgrad::cuda {
namespace {

template <class T>
void forward(const Tensor& gate, const Tensor& u, const Tensor& z, const Tensor& y) {
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
