#include "core/parallel.h"
#include "ops/dropout/dropout_factors.h"
#include "ops/dropout/dropout_kernels.h"
#include "ops/support/row_tasks.h"

namespace mixgrad::cpu {

void dropout_apply(const Tensor& x, const DropoutMask& mask, const GradTarget& y) {
  dispatch_float(x.dtype(), "dropout", [&]<class T>() {
    using A = acc_t<T>;
    const Rows<T> in(x);
    const Rows<T> out(y.tensor);
    const bool add = y.add;
    const std::uint64_t stream = mask.stream();
    parallel_rows(in.count, rows_per_task(in.width), [&](std::int64_t begin, std::int64_t end, std::int64_t) {
      for (std::int64_t r = begin; r < end; ++r) {
        const auto first = static_cast<std::uint64_t>(r * in.width);
        for_dropout_factors<A>(mask, stream, first, in.width,
                               [&](std::int64_t at, const A* factors, std::int64_t count) {
                                 const T* from = in[r] + at;
                                 T* to = out[r] + at;
                                 for (std::int64_t i = 0; i < count; ++i) {
                                   put(to[i], add, factors[i] == A(0) ? A(0) : A(from[i]) * factors[i]);
                                 }
                               });
      }
    });
  });
}

}  // namespace mixgrad::cpu
