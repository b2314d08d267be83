// What the tape knows of an operator: one constant per operator, defined beside its forward.
#pragma once

#include <cstdint>

namespace mixgrad {

class BackwardContext;

// The operators, from the one list: OpId::linear, OpId::embedding, ...
enum class OpId : std::uint8_t {
#define OP(name, folder) name,
#include "ops/op_list.def"
#undef OP
};

struct OpSpec {
  OpId id;
  const char* name;
  const char* formula;      // one line in the letters of the header
  const char* gradient;     // likewise
  const char* saves;        // what backward needs, in words
  int inputs;               // number of tensor inputs; an optional one that was not given counts
  int outputs;              // number of outputs that may be tracked
  unsigned differentiable;  // bit i: input i has a gradient
  void (*backward)(BackwardContext& context);
};

// Declarations of all specs; a name in the list without a definition is a link error.
#define OP(name, folder) extern const OpSpec name##_spec;
#include "ops/op_list.def"
#undef OP

inline constexpr int kOpCount = 0
#define OP(name, folder) +1
#include "ops/op_list.def"
#undef OP
    ;

// The specs in the order of the list.
const OpSpec& op_spec(OpId id);

}  // namespace mixgrad
