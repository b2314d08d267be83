#include <cstring>

#include "ops/heads/heads_kernels.h"
#include "ops/support/row_tasks.h"

namespace mixgrad::cpu {
namespace {

// f(row of the part's head, its columns, row of the whole, its columns) for blocks of tokens.
template <class T, class F>
void for_each_head(const Tensor& part, const Tensor& slots, const Tensor& whole, const F& f) {
  const Rows<T> from(part);
  const Rows<T> to(whole);
  const std::int64_t heads = slots.numel();
  const std::int64_t tokens = to.count;
  const bool split = part.shape().rank() == 4;  // each head a row
  const std::int64_t width = split ? from.width : from.width / std::max<std::int64_t>(1, heads);
  const std::int32_t* slot = slots.data<std::int32_t>();
  parallel_rows(tokens, rows_per_task(to.width), [&](std::int64_t begin, std::int64_t end, std::int64_t) {
    for (std::int64_t t = begin; t < end; ++t) {
      for (std::int64_t h = 0; h < heads; ++h) {
        f(split ? from[t * heads + h] : from[t] + h * width, to[t] + slot[h] * width, width);
      }
    }
  });
}

}  // namespace

void heads_to_slots(const Tensor& part, const Tensor& slots, const Tensor& whole) {
  dispatch_float(part.dtype(), "concat_heads", [&]<class T>() {
    for_each_head<T>(part, slots, whole, [](const T* head, T* slot, std::int64_t width) {
      std::memcpy(slot, head, static_cast<std::size_t>(width) * sizeof(T));
    });
  });
}

void heads_from_slots(const Tensor& whole, const Tensor& slots, const GradTarget& part) {
  dispatch_float(whole.dtype(), "concat_heads", [&]<class T>() {
    for_each_head<T>(part.tensor, slots, whole, [&](T* head, const T* slot, std::int64_t width) {
      if (!part.add) {
        std::memcpy(head, slot, static_cast<std::size_t>(width) * sizeof(T));
        return;
      }
      for (std::int64_t c = 0; c < width; ++c) head[c] = static_cast<T>(acc_t<T>(head[c]) + acc_t<T>(slot[c]));
    });
  });
}

}  // namespace mixgrad::cpu
