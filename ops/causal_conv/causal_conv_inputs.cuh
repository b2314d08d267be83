// Private to the CUDA implementations of the convolution: its inputs as rows.
#pragma once

#include "core/cuda/launch.cuh"

namespace mixgrad::cuda {

// The inputs as rows of one head: token t of sequence b is x[(b T + t) R + head].
template <class T>
struct ConvInputs {
  using A = acc_t<T>;

  Rows<T> x;
  Rows<T> history;  // [B,W-1,R] rows
  const A* weight;  // [R,C,W]
  const A* bias;    // [R,C]
  std::int64_t steps, heads, channels, width;

  ConvInputs(const Tensor& x_in, const Tensor& weight_in, const Tensor& bias_in, const Tensor& history_in)
      : x(x_in),
        history(history_in),
        weight(weight_in.data<A>()),
        bias(bias_in.data<A>()),
        steps(x_in.dim(1)),
        heads(x_in.dim(2)),
        channels(x_in.dim(3)),
        width(weight_in.dim(2)) {}

  std::int64_t sequences() const { return x.count / (steps * heads); }
  __device__ std::int64_t row(std::int64_t sequence, std::int64_t t, std::int64_t head) const {
    return (sequence * steps + t) * heads + head;
  }
  // Where the input of token t of a sequence is, also before its start; null: it is zero.
  __device__ const T* input_row(std::int64_t sequence, std::int64_t t, std::int64_t head) const {
    if (t >= 0) return x[row(sequence, t, head)];
    return history ? history[(sequence * (width - 1) + t + width - 1) * heads + head] : nullptr;
  }
  __device__ A input(std::int64_t sequence, std::int64_t t, std::int64_t head, std::int64_t c) const {
    const T* from = input_row(sequence, t, head);
    return from == nullptr ? A(0) : A(from[c]);
  }
  // p of element c of row (token, head)
  __device__ A filter(std::int64_t row, std::int64_t c) const {
    const std::int64_t head = row % heads;
    const std::int64_t token = row / heads;
    const std::int64_t channel = head * channels + c;
    A p = bias[channel];
    for (std::int64_t w = 0; w < width; ++w) {
      p += weight[channel * width + w] * input(token / steps, token % steps - (width - 1) + w, head, c);
    }
    return p;
  }
};

}  // namespace mixgrad::cuda
