#include "core/cuda_launch.cuh"
#include "ops/embedding/embedding_kernels.h"

namespace mixgrad::cuda {
namespace {

template <class T>
void forward(const Tensor& tokens, const Tensor& weight, const Tensor& positions, std::int64_t first_position,
             const Tensor& y) {
  using A = acc_t<T>;
  const std::int32_t* ids = tokens.data<std::int32_t>();
  const std::int64_t steps = tokens.dim(1);
  const Rows<T> table(weight);
  const Rows<T> position_table(positions);
  const Rows<T> out(y);
  for_each("embedding", weight.device(), y.numel(), [=] __device__(std::int64_t i) {
    const std::int64_t r = i / out.width;
    const std::int64_t c = i % out.width;
    const T value = table[ids[r]][c];
    out[r][c] = position_table ? static_cast<T>(A(value) + A(position_table[first_position + r % steps][c])) : value;
  });
}

// The block of the first row with an id adds up all rows with that id, in order; the others have nothing to do.
template <class T>
void backward_weight(const Tensor& tokens, const Tensor& dy, const GradTarget& dweight) {
  using A = acc_t<T>;
  if (!dweight.add) dweight.tensor.zero();
  const std::int32_t* ids = tokens.data<std::int32_t>();
  const Rows<T> up(dy);
  const Rows<A> to(dweight.tensor);
  for_each_row("embedding", dy.device(), up.count, [=] __device__(std::int64_t row) {
    const std::int32_t id = ids[row];
    int earlier = 0;
    for (std::int64_t r = threadIdx.x; r < row && earlier == 0; r += kRowThreads) earlier = ids[r] == id ? 1 : 0;
    if (block_max(earlier) != 0) return;
    for (std::int64_t c = threadIdx.x; c < up.width; c += kRowThreads) {
      A sum = to[id][c];
      for (std::int64_t r = row; r < up.count; ++r) {
        if (ids[r] == id) sum += A(up[r][c]);
      }
      to[id][c] = sum;
    }
  });
}

template <class T>
void backward_positions(std::int64_t steps, std::int64_t first_position, const Tensor& dy,
                        const GradTarget& dpositions) {
  using A = acc_t<T>;
  if (!dpositions.add) dpositions.tensor.zero();
  const Rows<T> up(dy);
  const Rows<A> to(dpositions.tensor);
  for_each("embedding", dy.device(), steps * up.width, [=] __device__(std::int64_t i) {
    const std::int64_t t = i / up.width;
    const std::int64_t c = i % up.width;
    A sum = to[first_position + t][c];
    for (std::int64_t r = t; r < up.count; r += steps) sum += A(up[r][c]);
    to[first_position + t][c] = sum;
  });
}

}  // namespace

void embedding_forward(const Tensor& tokens, const Tensor& weight, const Tensor& positions, std::int64_t first_position,
                       const Tensor& y) {
  dispatch_float(weight.dtype(), "embedding",
                 [&]<class T>() { forward<T>(tokens, weight, positions, first_position, y); });
}

void embedding_backward(const Tensor& tokens, std::int64_t first_position, const Tensor& dy, const GradTarget& dweight,
                        const GradTarget& dpositions) {
  dispatch_float(dy.dtype(), "embedding", [&]<class T>() {
    if (dweight.tensor.defined()) backward_weight<T>(tokens, dy, dweight);
    if (dpositions.tensor.defined()) backward_positions<T>(tokens.dim(1), first_position, dy, dpositions);
  });
}

}  // namespace mixgrad::cuda
