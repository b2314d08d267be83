#include "core/dispatch/device_check.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <limits>

#include "core/context.h"

namespace mixgrad {
namespace {

Tensor host_copy(const Tensor& tensor) {
  const Tensor plain = tensor.detach();
  return plain.device().is_cpu() ? plain.clone() : plain.to(kCpu);
}

// Calls f with a function i -> element i as double, of a contiguous tensor on the host.
template <class F>
void with_elements(const Tensor& tensor, const F& f) {
  if (tensor.dtype() == DType::i32) {
    const std::int32_t* data = tensor.data<std::int32_t>();
    return f([data](std::int64_t i) { return static_cast<double>(data[i]); });
  }
  dispatch_float(tensor.dtype(), "device_check", [&]<class T>() {
    const T* data = tensor.data<T>();
    f([data](std::int64_t i) { return static_cast<double>(acc_t<T>(data[i])); });
  });
}

// The largest finite |element|.
double largest(const Tensor& tensor) {
  double most = 0;
  with_elements(tensor, [&](const auto& at) {
    for (std::int64_t i = 0; i < tensor.numel(); ++i) {
      const double value = std::abs(at(i));
      if (std::isfinite(value)) most = std::max(most, value);
    }
  });
  return most;
}

bool same_memory(const Tensor& a, const Tensor& b) {
  return a.raw() == b.raw() && a.shape() == b.shape() && a.row_stride() == b.row_stride() && a.dtype() == b.dtype();
}

std::string exact(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.12g", value);
  return text;
}

// Infinity where only one of them is NaN, or infinite.
double difference(double got, double want) {
  if (got == want || (std::isnan(got) && std::isnan(want))) return 0;
  const double error = std::abs(got - want);
  return std::isfinite(error) ? error : std::numeric_limits<double>::infinity();
}

}  // namespace

double allowed_device_difference(DType narrowest) {
  switch (narrowest) {
    case DType::f64: return 1e-9;
    case DType::bf16: return 3e-2;
    case DType::i32: return 0;
    case DType::f32: break;
  }
  switch (context().matmul_precision) {
    case MatmulPrecision::highest: return 1e-4;
    case MatmulPrecision::high: return 5e-3;
    case MatmulPrecision::medium: return 3e-2;
  }
  return 0;
}

Tensor CheckedCall::copied(const Tensor& tensor) {
  if (!tensor.defined()) return tensor;
  for (const Pair& pair : pairs_) {
    if (same_memory(pair.there, tensor)) return pair.host;
  }
  const Tensor before = host_copy(tensor);
  pairs_.push_back({tensor, before, before.clone(), arguments_});
  return pairs_.back().host;
}

// The smallest of the inputs' largest values: what the CPU has not changed are inputs. Zeros do not count.
double CheckedCall::scale_of_inputs() const {
  double smallest = std::numeric_limits<double>::infinity();
  for (const Pair& pair : pairs_) {
    if (!is_float(pair.host.dtype()) || !pair.host.equal_bits(pair.before)) continue;
    const double scale = largest(pair.before);
    if (scale > 0) smallest = std::min(smallest, scale);
  }
  return std::isfinite(smallest) ? smallest : 0;
}

// What is kept in f32 for tensors in bf16, a loss or a sum of rows, is as exact as they are.
DType CheckedCall::narrowest() const {
  DType narrowest = DType::f64;
  for (const Pair& pair : pairs_) {
    const DType dtype = pair.there.dtype();
    if (is_float(dtype) && dtype_bytes(dtype) < dtype_bytes(narrowest)) narrowest = dtype;
  }
  return narrowest;
}

void CheckedCall::compare() const {
  // A gradient that is zero in theory is noise of rounding on both devices: nothing is asked below a hundredth of the
  // inputs.
  const double smallest = 0.01 * scale_of_inputs();
  const double allowed = allowed_device_difference(narrowest());
  for (const Pair& pair : pairs_) compare(pair, is_float(pair.there.dtype()) ? allowed : 0, smallest);
}

void CheckedCall::compare(const Pair& pair, double allowed, double smallest_scale) const {
  const Tensor got = host_copy(pair.there);
  const DType dtype = got.dtype();
  const double scale = std::max(largest(pair.host), smallest_scale);
  std::int64_t wrong = 0;
  std::int64_t worst_at = 0;
  double worst = 0;
  double there = 0;
  double here = 0;
  with_elements(got, [&](const auto& got_at) {
    with_elements(pair.host, [&](const auto& want_at) {
      for (std::int64_t i = 0; i < got.numel(); ++i) {
        const double error = difference(got_at(i), want_at(i));
        if (error <= allowed * scale) continue;
        ++wrong;
        if (error <= worst) continue;
        worst = error;
        worst_at = i;
        there = got_at(i);
        here = want_at(i);
      }
    });
  });
  if (wrong == 0) return;
  raise<DeviceMismatch>(
      kernel_, ": ", pair.there.device().str(), " must give what the CPU gives, to ", allowed, " of ", scale, "; ",
      argument_text(pair.argument), " ", dtype_name(dtype), " ", got.shape(), " differs in ", wrong, " of ",
      got.numel(), " elements, most in element ", worst_at, ": ", exact(there), " there, ", exact(here),
      " on the CPU; run mixgrad gradcheck --device cuda for this operator, or look ", "into its .cu file");
}

// "argument 3 (result.out)": its text in the source, up to the comma that ends it.
std::string CheckedCall::argument_text(int argument) const {
  int depth = 0;
  int at = 1;
  std::string text;
  for (const char c : texts_) {
    depth += c == '(' || c == '[' || c == '{' ? 1 : c == ')' || c == ']' || c == '}' ? -1 : 0;
    if (c == ',' && depth == 0) {
      ++at;
    } else if (at == argument && (c != ' ' || !text.empty())) {
      text += c;
    }
  }
  return "argument " + std::to_string(argument) + " (" + text + ")";
}

}  // namespace mixgrad
