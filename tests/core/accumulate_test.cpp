// to += from over views and dtypes, and that --device check compares it.
#include "core/dispatch/accumulate.h"

#include <doctest/doctest.h>

#include <string>
#include <vector>

#include "core/context.h"
#include "tests/support/close.h"
#include "tests/support/device.h"

namespace mixgrad::test {

TEST_CASE("accumulate: every pair of float types, contiguous and as a row view, on the device under test") {
  const Device device = test_device();
  const ContextScope scope({.check_devices = device.is_cuda()});
  for (const DType to : {DType::f64, DType::f32, DType::bf16}) {
    for (const DType from : {DType::f64, DType::f32, DType::bf16}) {
      for (const bool view : {false, true}) {
        CAPTURE(dtype_name(to));
        CAPTURE(dtype_name(from));
        const Tensor packed = Tensor::full({130, 7}, to, 2, device);  // more rows than one task takes
        const Tensor sum = view ? packed.column_view(1, 5) : packed;
        const Tensor more = Tensor::full(sum.shape(), from, 0.5, device);
        more.set(9, -4);
        CHECK_NOTHROW(accumulate(sum, more));
        CHECK(sum.at(0) == 2.5);
        CHECK(sum.at(9) == -2);
        CHECK(sum.at(sum.numel() - 1) == 2.5);
        if (view) CHECK(packed.at(0) == 2);
      }
    }
  }
}

TEST_CASE("accumulate: the comparison of devices sees an element that was not added") {
  const Tensor sum = Tensor::full({70, 3}, DType::f32, 1);
  const Tensor more = Tensor::full({70, 3}, DType::f32, 2);
  const auto forgets_last = [](const Tensor& to, const Tensor& from) {
    cpu::accumulate(to, from);
    to.set(to.numel() - 1, 1);
  };
  const std::string text = error_text<DeviceMismatch>([&] {
    check_kernel(
        "accumulate", "to, from", forgets_last, [](const Tensor& to, const Tensor& from) { cpu::accumulate(to, from); },
        sum, more);
  });
  CHECK(text.find(
            "argument 1 (to) f32 [70,3] differs in 1 of 210 elements, most in element 209: 1 there, 3 on the CPU") !=
        std::string::npos);
}

}  // namespace mixgrad::test
