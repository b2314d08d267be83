#include "apps/placement_options.h"

#include "core/error.h"
#include "ops/matmul/precision.h"

namespace mixgrad::app {

DType parse_precision(const std::string& name) {
  for (const DType dtype : {DType::f64, DType::f32, DType::bf16}) {
    if (name == dtype_name(dtype)) return dtype;
  }
  raise<ValueError>("precision: must be f64, f32 or bf16, got \"", name, '"');
}

void PlacementOptions::declare(OptionSet& options, const std::vector<std::string>& precisions,
                               const std::string& help) {
  options.add("device", device, "Where the model runs: cpu, cuda or cuda:N");
  options.add("precision", precision, precisions, help);
  options.add("matmul-precision", matmul_precision, {"highest", "high", "medium"},
              "Products of f32: highest = exact operands; on CUDA high = tf32, medium = bf16 operands");
}

void PlacementOptions::apply() const {
  require_device(where());
  set_matmul_precision(parse_matmul_precision(matmul_precision));
}

Device PlacementOptions::where() const { return parse_device(device); }

}  // namespace mixgrad::app
