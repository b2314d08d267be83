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

// The same copies by chunks of 16 bytes, where a head has whole ones: less time than element by element. f(of part, of
// whole).
template <class T>
struct HeadChunks {
  PartElements<T> elements;
  unsigned chunks;  // of a head

  explicit HeadChunks(const PartElements<T>& all)
      : elements(all), chunks(static_cast<unsigned>(all.width / Chunk<T>::kSize)) {}

  static bool takes(const PartElements<T>& all) {
    const auto whole_chunks = [](const Rows<T>& rows) {
      return reinterpret_cast<std::uintptr_t>(rows.data) % 16 == 0 && rows.stride % Chunk<T>::kSize == 0;
    };
    return all.width > 0 && all.width % Chunk<T>::kSize == 0 && whole_chunks(all.part) && whole_chunks(all.whole);
  }
  template <class F>
  void for_each(Device device, const F& f) const {
    const HeadChunks own = *this;
    for_each_cell(
        "concat_heads", device, elements.whole.count, elements.heads * chunks,
        [=] __device__(std::int64_t token, std::int64_t i) {
          const unsigned head = static_cast<unsigned>(i) / own.chunks;
          const std::int64_t c = static_cast<std::int64_t>(static_cast<unsigned>(i) % own.chunks) * Chunk<T>::kSize;
          const PartElements<T>& all = own.elements;
          T* part = all.split ? all.part[token * all.heads + head] + c : all.part[token] + head * all.width + c;
          T* whole = all.whole[token] + all.slots[head] * all.width + c;
          f(*reinterpret_cast<Chunk<T>*>(part), *reinterpret_cast<Chunk<T>*>(whole));
        });
  }
};

template <class T>
void to_slots(const Tensor& part, const Tensor& slots, const Tensor& whole) {
  const PartElements<T> elements(part, slots, whole);
  if (HeadChunks<T>::takes(elements)) {
    return HeadChunks<T>(elements).for_each(
        part.device(), [] __device__(const Chunk<T>& of_part, Chunk<T>& of_whole) { of_whole = of_part; });
  }
  for_each("concat_heads", part.device(), part.numel(),
           [=] __device__(std::int64_t i) { elements.of_whole(i) = elements.of_part(i); });
}

template <class T>
void from_slots(const Tensor& whole, const Tensor& slots, const GradTarget& part) {
  const PartElements<T> elements(part.tensor, slots, whole);
  const bool add = part.add;
  if (HeadChunks<T>::takes(elements)) {
    return HeadChunks<T>(elements).for_each(
        whole.device(), [=] __device__(Chunk<T> & of_part, const Chunk<T>& of_whole) {
          Chunk<T> result = of_whole;
#pragma unroll
          for (int e = 0; add && e < Chunk<T>::kSize; ++e) {
            result.values[e] = static_cast<T>(acc_t<T>(of_part.values[e]) + acc_t<T>(of_whole.values[e]));
          }
          of_part = result;
        });
  }
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
