#include "core/cuda/launch.cuh"
#include "ops/heads/heads_kernels.h"

namespace mixgrad::cuda {
namespace {

// An element of a part: where it is, and where in the whole.
template <class T>
struct PartElements {
  Rows<T> part, whole;
  const std::int32_t* slots;
  std::int64_t heads, width;
  bool split;  // the part has a row for each head

  PartElements(const Tensor& part_in, const Tensor& slots_in, const Tensor& whole_in)
      : part(part_in),
        whole(whole_in),
        slots(slots_in.data<std::int32_t>()),
        heads(slots_in.numel()),
        width(0),
        split(part_in.shape().rank() == 4) {
    width = split || heads == 0 ? part.width : part.width / heads;
  }
  __device__ T& of_part(std::int64_t i) const {
    const std::int64_t row = i / width;
    return split ? part[row][i % width] : part[row / heads][row % heads * width + i % width];
  }
  __device__ T& of_whole(std::int64_t i) const {
    const std::int64_t row = i / width;
    return whole[row / heads][slots[row % heads] * width + i % width];
  }
};

template <class T>
void to_slots(const Tensor& part, const Tensor& slots, const Tensor& whole) {
  const PartElements<T> elements(part, slots, whole);
  for_each("concat_heads", part.device(), part.numel(),
           [=] __device__(std::int64_t i) { elements.of_whole(i) = elements.of_part(i); });
}

template <class T>
void from_slots(const Tensor& whole, const Tensor& slots, const GradTarget& part) {
  const PartElements<T> elements(part.tensor, slots, whole);
  const bool add = part.add;
  for_each("concat_heads", whole.device(), part.tensor.numel(), [=] __device__(std::int64_t i) {
    T& to = elements.of_part(i);
    const T from = elements.of_whole(i);
    to = add ? static_cast<T>(acc_t<T>(to) + acc_t<T>(from)) : from;
  });
}

}  // namespace

void heads_to_slots(const Tensor& part, const Tensor& slots, const Tensor& whole) {
  dispatch_float(part.dtype(), "concat_heads", [&]<class T>() { to_slots<T>(part, slots, whole); });
}

void heads_from_slots(const Tensor& whole, const Tensor& slots, const GradTarget& part) {
  dispatch_float(whole.dtype(), "concat_heads", [&]<class T>() { from_slots<T>(whole, slots, part); });
}

}  // namespace mixgrad::cuda
