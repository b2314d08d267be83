#include "core/matmul_precision.h"

#include "core/error.h"

namespace mixgrad {

MatmulPrecision parse_matmul_precision(std::string_view name) {
  if (name == "highest") return MatmulPrecision::highest;
  if (name == "high") return MatmulPrecision::high;
  if (name == "medium") return MatmulPrecision::medium;
  raise<ValueError>("matmul precision: must be highest, high or medium, got \"", name, '"');
}

}  // namespace mixgrad
