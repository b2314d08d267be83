#include <algorithm>
#include <cmath>
#include <utility>

#include "nn/training/optimizers/muon.h"
#include "nn/training/optimizers/optimizer_blocks.cuh"
#include "ops/matmul/matmul_cuda.h"

namespace mixgrad::cuda {
namespace {

// The matrix that is made orthogonal: x [rows,columns] with rows <= columns, and what the iterations need beside it.
template <class T>
struct Orthogonal {
  Device device;
  std::int64_t rows, columns;
  Tensor x, next;       // [rows,columns]
  Tensor gram, square;  // [rows,rows]
  Tensor squares;       // [rows] f64
};

template <class T>
Orthogonal<T> new_orthogonal(std::int64_t outputs, std::int64_t inputs, Device device) {
  const std::int64_t rows = std::min(outputs, inputs);
  const std::int64_t columns = std::max(outputs, inputs);
  const auto empty = [&](std::int64_t r, std::int64_t c) { return Tensor::empty({r, c}, dtype_of<T>(), device); };
  return {device,
          rows,
          columns,
          empty(rows, columns),
          empty(rows, columns),
          empty(rows, rows),
          empty(rows, rows),
          Tensor::empty({rows}, DType::f64, device)};
}

template <class T>
void scale_to_norm(const Orthogonal<T>& o) {
  T* x = o.x.template data<T>();
  double* squares = o.squares.template data<double>();
  const std::int64_t rows = o.rows;
  const std::int64_t columns = o.columns;
  for_each_row("muon", o.device, rows, [=] __device__(std::int64_t r) {
    double sum = 0;
    for (std::int64_t c = threadIdx.x; c < columns; c += kRowThreads) {
      const auto value = static_cast<double>(x[r * columns + c]);
      sum += value * value;
    }
    sum = block_sum(sum);
    if (threadIdx.x == 0) squares[r] = sum;
  });
  for_each_row("muon", o.device, 1, [=] __device__(std::int64_t) {
    double sum = 0;
    for (std::int64_t r = threadIdx.x; r < rows; r += kRowThreads) sum += squares[r];
    sum = block_sum(sum);
    if (threadIdx.x == 0) squares[0] = 1.0 / (std::sqrt(sum) + kMuonSmallest);
  });
  for_each("muon", o.device, rows * columns, [=] __device__(std::int64_t i) { x[i] *= T(squares[0]); });
}

template <class T>
void iterate(Orthogonal<T>& o) {
  const std::int64_t rows = o.rows;
  const std::int64_t columns = o.columns;
  Product<T, T> gram_product{};
  gram_product.m = gram_product.n = rows;
  gram_product.k = columns;
  gram_product.a = gram_product.b = o.x.template data<T>();
  gram_product.lda = gram_product.ldb = columns;
  gram_product.transpose_b = true;
  gram_product.c = o.gram.template data<T>();
  gram_product.ldc = rows;
  matmul(gram_product, o.device);
  Product<T, T> square_product{};
  square_product.m = square_product.n = square_product.k = rows;
  square_product.a = square_product.b = o.gram.template data<T>();
  square_product.lda = square_product.ldb = square_product.ldc = rows;
  square_product.c = o.square.template data<T>();
  matmul(square_product, o.device);
  const T* a = o.gram.template data<T>();
  T* b = o.square.template data<T>();
  for_each("muon", o.device, rows * rows,
           [=] __device__(std::int64_t i) { b[i] = T(kMuonB) * a[i] + T(kMuonC) * b[i]; });
  const T* from = o.x.template data<T>();
  T* to = o.next.template data<T>();
  for_each("muon", o.device, rows * columns, [=] __device__(std::int64_t i) { to[i] = T(kMuonA) * from[i]; });
  Product<T, T> last{};
  last.m = last.k = rows;
  last.n = columns;
  last.a = o.square.template data<T>();
  last.lda = rows;
  last.b = o.x.template data<T>();
  last.ldb = last.ldc = columns;
  last.c = o.next.template data<T>();
  last.accumulate = true;
  matmul(last, o.device);
  std::swap(o.x, o.next);
}

template <class T>
void update(const MuonMatrices& m, const MuonConstants& constants, const Tensor& progress) {
  const Device device = m.master.device();
  const Shape& shape = m.master.shape();
  const std::int64_t outputs = shape[shape.rank() - 2];
  const std::int64_t inputs = shape[shape.rank() - 1];
  const std::int64_t size = outputs * inputs;
  const bool transposed = outputs > inputs;
  const StepProgress* now = step_progress(progress);
  const MuonConstants c = constants;
  const double ratio = static_cast<double>(outputs) / static_cast<double>(inputs);
  const double scale = std::sqrt(std::max(1.0, ratio));
  Orthogonal<T> orthogonal = new_orthogonal<T>(outputs, inputs, device);
  for (std::int64_t first = 0; first < m.master.numel(); first += size) {
    const T* gradient = m.gradient.data<T>() + first;
    T* moving = m.momentum.data<T>() + first;
    T* x = orthogonal.x.template data<T>();
    for_each("muon", device, size, [=] __device__(std::int64_t j) {
      const T g = gradient[j] * T(now->scale);
      const T moved = T(c.momentum) * moving[j] + g;
      if (now->halted == 0) moving[j] = moved;
      x[transposed ? j % inputs * outputs + j / inputs : j] = g + T(c.momentum) * moved;
    });
    scale_to_norm(orthogonal);
    for (int i = 0; i < kMuonIterations; ++i) iterate(orthogonal);
    const T* done = orthogonal.x.template data<T>();
    T* p = m.master.data<T>() + first;
    bf16* copy = m.copy.defined() ? m.copy.data<bf16>() + first : nullptr;
    for_each("muon", device, size, [=] __device__(std::int64_t j) {
      if (now->halted != 0) return;
      const double rate = now->learning_rate * c.relative_rate;
      const T keep = T(1 - rate * c.weight_decay);
      p[j] = p[j] * keep - T(rate * scale) * done[transposed ? j % inputs * outputs + j / inputs : j];
      if (copy != nullptr) copy[j] = static_cast<bf16>(p[j]);
    });
  }
}

}  // namespace

void muon_update(const MuonMatrices& matrices, const MuonConstants& constants, const Tensor& progress) {
  if (matrices.master.numel() == 0) return;
  dispatch_accumulation(matrices.gradient.dtype(), "muon",
                        [&]<class T>() { update<T>(matrices, constants, progress); });
}

}  // namespace mixgrad::cuda
