// `--device check`, Context::check_devices: each kernel runs on the CUDA device and then, on copies of its arguments as
// they were, on the CPU; afterwards all of its tensors must agree, outputs and inputs. It serves to find a wrong
// kernel: the error names the first call that differs, with the element and both values. It is slow, and no graph can
// be captured while it is on.
#pragma once

#include <string>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <vector>

#include "core/error.h"
#include "core/tensor.h"

namespace mixgrad {

struct DeviceMismatch : DeviceError {
  using DeviceError::DeviceError;
};

// How far the devices may differ in a call whose narrowest float tensor has this type, of the largest value of each
// tensor: f64 1e-9, f32 1e-4 (5e-3 and 3e-2 where --matmul-precision is high or medium), bf16 3e-2. Tokens and other
// i32 must be equal.
double allowed_device_difference(DType narrowest);

// One call of a kernel. `arguments` is their text in the source, "x, weight, result.out".
class CheckedCall {
 public:
  CheckedCall(const char* kernel, const char* arguments) : kernel_(kernel), texts_(arguments) {}

  // The argument for the CPU: its tensors are copies, the same copy for the same tensor. A struct with tensors in it
  // has a member `each_tensor(visit)`.
  template <class T>
  T on_host(const T& argument) {
    ++arguments_;
    T copy = argument;
    const auto visit = [this](Tensor& tensor) { tensor = copied(tensor); };
    if constexpr (std::is_same_v<T, Tensor>) {
      visit(copy);
    } else if constexpr (requires { copy.each_tensor(visit); }) {
      copy.each_tensor(visit);
    } else {
      static_assert(std::is_trivially_copyable_v<T>, "a struct with tensors in it needs each_tensor(visit)");
    }
    return copy;
  }

  // When both kernels have run: DeviceMismatch where they differ.
  void compare() const;

 private:
  struct Pair {
    Tensor there;         // as the kernel on the device got it
    Tensor before, host;  // copies: one as it was, one that the CPU's kernel works on
    int argument;         // 1, 2, ...: where it was first met
  };
  Tensor copied(const Tensor& tensor);
  DType narrowest() const;
  double scale_of_inputs() const;
  void compare(const Pair& pair, double allowed, double smallest_scale) const;
  std::string argument_text(int argument) const;

  const char* kernel_;
  std::string_view texts_;
  std::vector<Pair> pairs_;
  int arguments_ = 0;
};

// on_device(arguments...) and on_host(copies...), compared.
template <class OnDevice, class OnHost, class... Arguments>
void check_kernel(const char* kernel, const char* texts, const OnDevice& on_device, const OnHost& on_host,
                  const Arguments&... arguments) {
  CheckedCall call(kernel, texts);
  const std::tuple<Arguments...> copies{call.on_host(arguments)...};
  on_device(arguments...);
  std::apply(on_host, copies);
  call.compare();
}

}  // namespace mixgrad
