#include <atomic>

#include "core/error.h"
#include "core/matmul_precision.h"

namespace mixgrad {
namespace {

std::atomic<MatmulPrecision> g_precision{MatmulPrecision::highest};

}  // namespace

void set_matmul_precision(MatmulPrecision precision) { g_precision = precision; }
MatmulPrecision matmul_precision() { return g_precision; }

MatmulPrecision parse_matmul_precision(std::string_view name) {
  if (name == "highest") return MatmulPrecision::highest;
  if (name == "high") return MatmulPrecision::high;
  if (name == "medium") return MatmulPrecision::medium;
  raise<ValueError>("matmul precision: must be highest, high or medium, got \"", name, '"');
}

}  // namespace mixgrad
