// Conformance: does this engine compute what an independent float64 reference computed?
//
// A case is one .safetensors file (format mixgrad-conformance-1) with a model's configuration, parameters, batches, and
// from the reference logits, loss, gradients, the losses of K AdamW steps, the parameters after them, and probes.
#pragma once

#include <filesystem>
#include <optional>
#include <string>

#include "core/device.h"
#include "core/dtype.h"

namespace mixgrad {

// Figures are the largest |x - reference| / max |reference| over the tensors of a part; in bf16 |x - reference| /
// |reference| in the Frobenius norm, of a tensor, or of all gradients as one vector. A part that the file lacks, or
// that this check does not have, is empty.
struct ConformanceResult {
  std::string name;  // of the file, without folder and ending
  DType precision = DType::f64;
  std::optional<double> logits, loss, grad, step_losses, after, decode, probes;
  std::string worst;  // the tensor that exceeds its tolerance most, empty when all pass
  bool pass = false;
};

// `precision` is f64, f32 or bf16 (which has no `after`). FormatError or IoError when the file is not a case.
ConformanceResult run_conformance(const std::filesystem::path& path, DType precision, Device device = kCpu);

}  // namespace mixgrad
