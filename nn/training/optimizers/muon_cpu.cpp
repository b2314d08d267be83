#include <algorithm>
#include <cmath>

#include "core/parallel.h"
#include "nn/training/optimizers/muon.h"
#include "nn/training/optimizers/optimizer_blocks.h"
#include "ops/matmul/matmul.h"

namespace mixgrad::cpu {
namespace {

// The matrix that is made orthogonal: x [rows,columns] with rows <= columns, and what the iterations need beside it.
template <class T>
struct Orthogonal {
  std::int64_t rows, columns;
  Tensor x, next;       // [rows,columns]
  Tensor gram, square;  // [rows,rows]

  Orthogonal(std::int64_t outputs, std::int64_t inputs)
      : rows(std::min(outputs, inputs)),
        columns(std::max(outputs, inputs)),
        x(Tensor::empty({rows, columns}, dtype_of<T>())),
        next(Tensor::empty({rows, columns}, dtype_of<T>())),
        gram(Tensor::empty({rows, rows}, dtype_of<T>())),
        square(Tensor::empty({rows, rows}, dtype_of<T>())) {}

  // f(i) for each element of a tensor, rows shared out.
  template <class F>
  static void each(const Tensor& tensor, const F& f) {
    const std::int64_t width = tensor.cols();
    parallel_for(tensor.rows(), [&](std::int64_t r) {
      for (std::int64_t i = r * width; i < (r + 1) * width; ++i) f(i);
    });
  }

  void scale_to_norm() const {
    T* values = x.data<T>();
    double squares = 0;
    for (std::int64_t r = 0; r < rows; ++r) {
      double of_row = 0;
      for (std::int64_t c = 0; c < columns; ++c) of_row += double(values[r * columns + c]) * values[r * columns + c];
      squares += of_row;
    }
    const T scale = T(1.0 / (std::sqrt(squares) + kMuonSmallest));
    each(x, [&](std::int64_t i) { values[i] *= scale; });
  }

  void iterate() {
    Product<T, T> gram_product{};
    gram_product.m = gram_product.n = rows;
    gram_product.k = columns;
    gram_product.a = gram_product.b = x.data<T>();
    gram_product.lda = gram_product.ldb = columns;
    gram_product.transpose_b = true;
    gram_product.c = gram.data<T>();
    gram_product.ldc = rows;
    matmul(gram_product);
    Product<T, T> square_product{};
    square_product.m = square_product.n = square_product.k = rows;
    square_product.a = square_product.b = gram.data<T>();
    square_product.lda = square_product.ldb = square_product.ldc = rows;
    square_product.c = square.data<T>();
    matmul(square_product);
    const T* a = gram.data<T>();
    T* b = square.data<T>();
    each(square, [&](std::int64_t i) { b[i] = T(kMuonB) * a[i] + T(kMuonC) * b[i]; });
    const T* from = x.data<T>();
    T* to = next.data<T>();
    each(next, [&](std::int64_t i) { to[i] = T(kMuonA) * from[i]; });
    Product<T, T> last{};
    last.m = last.k = rows;
    last.n = columns;
    last.a = square.data<T>();
    last.lda = rows;
    last.b = x.data<T>();
    last.ldb = last.ldc = columns;
    last.c = next.data<T>();
    last.accumulate = true;
    matmul(last);
    std::swap(x, next);
  }
};

template <class T>
void update(const MuonMatrices& m, const MuonConstants& constants, const StepProgress& now) {
  const Shape& shape = m.master.shape();
  const std::int64_t outputs = shape[shape.rank() - 2];
  const std::int64_t inputs = shape[shape.rank() - 1];
  const std::int64_t size = outputs * inputs;
  const bool transposed = outputs > inputs;
  const auto factor = static_cast<T>(now.scale);
  const auto momentum = static_cast<T>(constants.momentum);
  const double learning_rate = now.learning_rate * constants.relative_rate;
  const double ratio = static_cast<double>(outputs) / static_cast<double>(inputs);
  const auto rate = static_cast<T>(learning_rate * std::sqrt(std::max(1.0, ratio)));
  const auto keep = static_cast<T>(1 - learning_rate * constants.weight_decay);
  Orthogonal<T> orthogonal(outputs, inputs);
  // Where x has element j of the matrix.
  const auto place = [=](std::int64_t j) { return transposed ? j % inputs * outputs + j / inputs : j; };
  for (std::int64_t first = 0; first < m.master.numel(); first += size) {
    const T* gradient = m.gradient.data<T>() + first;
    T* moving = m.momentum.data<T>() + first;
    T* x = orthogonal.x.template data<T>();
    parallel_for(outputs, [&](std::int64_t r) {
      for (std::int64_t j = r * inputs; j < (r + 1) * inputs; ++j) {
        const T g = gradient[j] * factor;
        moving[j] = momentum * moving[j] + g;
        x[place(j)] = g + momentum * moving[j];
      }
    });
    orthogonal.scale_to_norm();
    for (int i = 0; i < kMuonIterations; ++i) orthogonal.iterate();
    const T* done = orthogonal.x.template data<T>();
    T* p = m.master.data<T>() + first;
    bf16* copy = m.copy.defined() ? m.copy.data<bf16>() + first : nullptr;
    parallel_for(outputs, [&](std::int64_t r) {
      for (std::int64_t j = r * inputs; j < (r + 1) * inputs; ++j) {
        p[j] = p[j] * keep - rate * done[place(j)];
        if (copy != nullptr) copy[j] = static_cast<bf16>(p[j]);
      }
    });
  }
}

}  // namespace

void muon_update(const MuonMatrices& matrices, const MuonConstants& constants, const Tensor& progress) {
  const StepProgress now = step_progress(progress);
  if (now.halted != 0 || matrices.master.numel() == 0) return;
  dispatch_accumulation(matrices.gradient.dtype(), "muon", [&]<class T>() { update<T>(matrices, constants, now); });
}

}  // namespace mixgrad::cpu
