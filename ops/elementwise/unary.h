// The functions of unary.def as values, and from a value to its struct of functions.h.
#pragma once

#include <cstdint>

#include "ops/elementwise/functions.h"

namespace mixgrad {

enum class UnaryFunction : std::uint8_t {
#define UNARY(name, Function, formula, gradient) name,
#include "ops/elementwise/unary.def"
#undef UNARY
};

// Calls f.template operator()<Function>() with the struct that has f and f'.
template <class F>
void dispatch_unary(UnaryFunction function, const F& f) {
  switch (function) {
#define UNARY(name, Function, formula, gradient) \
  case UnaryFunction::name:                      \
    return f.template operator()<functions::Function>();
#include "ops/elementwise/unary.def"
#undef UNARY
  }
}

}  // namespace mixgrad
