#include "core/cuda/launch.cuh"
#include "core/numeric/dropout_bits.h"
#include "ops/dropout/dropout_kernels.h"

namespace mixgrad::cuda {
namespace {

// A thread takes a block of four elements, which share the bits of one call.
template <class T>
void apply(const Tensor& x, const DropoutMask& mask, const GradTarget& y) {
  using A = acc_t<T>;
  const Rows<T> in(x);
  const Target<T> out(y.tensor, y.add);
  const A scale = static_cast<A>(mask.scale());
  const std::int64_t count = x.numel();
  for_each("dropout", x.device(), (count + 3) / 4, [=] __device__(std::int64_t block) {
    const RandomBits bits = dropout_bits(mask, mask.stream(), static_cast<std::uint64_t>(block));
#pragma unroll
    for (int n = 0; n < 4; ++n) {
      const std::int64_t i = 4 * block + n;
      if (i >= count) return;
      const std::int64_t r = i / in.width;
      const std::int64_t c = i % in.width;
      out.put(r, c, mask.keeps_word(bits.words[n]) ? A(in[r][c]) * scale : A(0));
    }
  });
}

}  // namespace

void dropout_apply(const Tensor& x, const DropoutMask& mask, const GradTarget& y) {
  dispatch_float(x.dtype(), "dropout", [&]<class T>() { apply<T>(x, mask, y); });
}

}  // namespace mixgrad::cuda
