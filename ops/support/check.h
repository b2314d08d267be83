// The wording of shape, dtype and device errors, shared by all operators.
#pragma once

#include <string_view>

#include "autograd/tape.h"
#include "core/build.h"
#include "core/cuda/cuda.h"
#include "core/error.h"
#include "core/numeric/token_position.h"
#include "core/tensor.h"

namespace mixgrad {

inline void require_shape(std::string_view op, std::string_view name, const Tensor& tensor, const Shape& shape) {
  if (!(tensor.shape() == shape)) raise<ShapeError>(op, ": ", name, " must be ", shape, ", got ", tensor.shape());
}

inline void require_rank(std::string_view op, std::string_view name, const Tensor& tensor, int rank,
                         std::string_view axes) {
  if (tensor.shape().rank() != rank) {
    raise<ShapeError>(op, ": ", name, " must be ", axes, " (", rank, " axes), got ", tensor.shape());
  }
}

inline void require_float(std::string_view op, std::string_view name, const Tensor& tensor) {
  if (!tensor.defined()) raise<ShapeError>(op, ": ", name, " is required, got an undefined tensor");
  if (!is_float(tensor.dtype())) {
    raise<DTypeError>(op, ": ", name, " must be f64, f32 or bf16, got ", dtype_name(tensor.dtype()));
  }
}

inline void require_device(std::string_view op, std::string_view name, const Tensor& tensor, Device device) {
  if (tensor.device() == device) return;
  raise<DeviceError>(op, ": ", name, " must be on ", device.str(), " like the other inputs, got ",
                     tensor.device().str(), "; copy it there first");
}

// `other` (named `name`) has the dtype and device of `first`.
inline void require_like(std::string_view op, std::string_view name, const Tensor& other, const Tensor& first) {
  if (other.dtype() != first.dtype()) {
    raise<DTypeError>(op, ": ", name, " must be ", dtype_name(first.dtype()), " like the first input, got ",
                      dtype_name(other.dtype()));
  }
  if (!(other.device() == first.device())) {
    raise<DeviceError>(op, ": ", name, " must be on ", first.device().str(), " like the first input, got ",
                       other.device().str(), "; copy it there first");
  }
}

// `other` is of the dtype, device and shape of `first`.
inline void require_same(std::string_view op, std::string_view name, const Tensor& other, const Tensor& first) {
  require_float(op, name, other);
  require_like(op, name, other, first);
  require_shape(op, name, other, first.shape());
}

// A parameter that is read in the accumulation type of the first input: f32 beside bf16, else its dtype.
inline void require_precise(std::string_view op, std::string_view name, const Tensor& parameter, const Tensor& first) {
  if (first.dtype() != DType::bf16) return require_like(op, name, parameter, first);
  require_device(op, name, parameter, first.device());
  if (parameter.dtype() == DType::f32) return;
  raise<DTypeError>(op, ": ", name, " must be f32 beside a bf16 first input, got ", dtype_name(parameter.dtype()));
}

inline void require_contiguous(std::string_view op, std::string_view name, const Tensor& tensor) {
  if (!tensor.is_contiguous()) {
    raise<ShapeError>(op, ": ", name, " must be contiguous, got a row view ", tensor.shape(), "; clone() it first");
  }
}

// For inference calls, which record nothing. `op` is the name of the call.
inline void require_untracked(std::string_view op, std::string_view name, const Tensor& tensor) {
  if (tracked(tensor)) {
    raise<GradError>(op, ": is not differentiable, but ", name, " ", tensor.shape(), " is tracked; detach() it");
  }
}

// At least 0; on the device only where that is the one of `first`, an input of the call.
inline void require_position(std::string_view op, std::string_view name, const TokenPosition& position,
                             const Tensor& first) {
  if (position.host < 0) raise<ValueError>(op, ": ", name, " must be at least 0, got ", position.host);
  if (position.device != nullptr && !first.device().is_cuda()) {
    raise<DeviceError>(op, ": ", name, " must be a number of the host for tensors on ", first.device().str(),
                       ", got one in the memory of a CUDA device; copy the tensors there");
  }
}

inline void require_i32(std::string_view op, std::string_view name, const Tensor& tensor) {
  if (!tensor.defined()) raise<ShapeError>(op, ": ", name, " is required, got an undefined tensor");
  if (tensor.dtype() != DType::i32) {
    raise<DTypeError>(op, ": ", name, " must be i32, got ", dtype_name(tensor.dtype()));
  }
}

// i32, contiguous, of this shape, on the device of `first`; each in [0, vocabulary) or -1, which does not count.
inline void require_targets(std::string_view op, const Tensor& targets, const Shape& shape, std::int64_t vocabulary,
                            const Tensor& first) {
  require_i32(op, "targets", targets);
  require_contiguous(op, "targets", targets);
  require_device(op, "targets", targets, first.device());
  require_shape(op, "targets", targets, shape);
  if constexpr (build::has_cuda) {
    if (cuda::capturing()) return;  // the values do not exist yet: the kernels make the loss NaN
  }
  const Tensor host = targets.to(kCpu);
  const std::int32_t* ids = host.data<std::int32_t>();
  for (std::int64_t r = 0; r < targets.numel(); ++r) {
    if (ids[r] >= -1 && ids[r] < vocabulary) continue;
    raise<ValueError>(op, ": targets must be -1 (ignored) or in [0,", vocabulary, "), got ", ids[r], " at index ", r);
  }
}

}  // namespace mixgrad
