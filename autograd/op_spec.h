// What the tape knows of an operator: one constant per operator, defined beside its forward.
//
//   const OpSpec square_spec{.name = "square", .formula = "y = x^2", .gradient = "dx = 2 x dy", .saves = "x",
//                            .inputs = 1, .outputs = 1, .differentiable = {0}, .roles = {InputRole::activation},
//                            .backward = square_gradient};
//
// The address of this constant is the operator's identity, so an operator may live in any program.
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <initializer_list>

#include "core/error.h"

namespace mixgrad {

class BackwardContext;

inline constexpr int kMaxOpInputs = 8;
inline constexpr int kMaxOpOutputs = 2;

// Some of the indices 0 ... 31.
class IndexSet {
 public:
  constexpr IndexSet() = default;
  constexpr IndexSet(std::initializer_list<int> indices) {
    for (const int i : indices) insert(i);
  }
  constexpr void insert(int i) {
    MIXGRAD_ASSERT(i >= 0 && i < 32, "an index of an IndexSet");
    bits_ |= std::uint32_t{1} << static_cast<unsigned>(i);
  }
  constexpr bool contains(int i) const { return i >= 0 && i < 32 && (bits_ >> static_cast<unsigned>(i) & 1U) != 0; }
  constexpr int size() const { return std::popcount(bits_); }
  constexpr int end() const { return 32 - std::countl_zero(bits_); }  // one more than the largest
  friend constexpr bool operator==(const IndexSet&, const IndexSet&) = default;

 private:
  std::uint32_t bits_ = 0;
};

// What an input of an operator is in a model. It decides the dtype of the input beside bf16 activations, and the dtype
// of its gradient.
enum class InputRole : std::uint8_t {
  activation,      // has the dtype of the model, and so has its gradient
  activation_f32,  // an activation that is kept in f32 beside bf16, such as a residual stream
  parameter,       // has the dtype of the model; its gradient has the accumulation dtype (f64 for f64, else f32)
  parameter_f32,   // a parameter that is kept in f32 beside bf16
  index,           // i32: tokens, targets, tables; has no gradient
};

constexpr bool is_parameter(InputRole role) { return role == InputRole::parameter || role == InputRole::parameter_f32; }
constexpr bool is_kept_in_f32(InputRole role) {
  return role == InputRole::activation_f32 || role == InputRole::parameter_f32;
}

// The roles of an operator's inputs, in their order.
class InputRoles {
 public:
  constexpr InputRoles() = default;
  constexpr InputRoles(std::initializer_list<InputRole> roles) {
    for (const InputRole role : roles) {
      MIXGRAD_ASSERT(count_ < kMaxOpInputs, "at most 8 inputs");
      roles_[static_cast<std::size_t>(count_++)] = role;
    }
  }
  constexpr int size() const { return count_; }
  constexpr InputRole operator[](int i) const { return roles_[static_cast<std::size_t>(i)]; }

 private:
  std::array<InputRole, kMaxOpInputs> roles_{};
  int count_ = 0;
};

struct OpSpec {
  const char* name = nullptr;
  const char* formula = nullptr;   // one line in the letters of the header
  const char* gradient = nullptr;  // likewise
  const char* saves = nullptr;     // what backward needs, in words
  int inputs = 0;                  // number of tensor inputs; an optional one that was not given counts
  int outputs = 0;                 // number of outputs that may be tracked
  IndexSet differentiable = {};    // the inputs that have a gradient
  InputRoles roles = {};           // one for each input
  const char* cached = nullptr;    // the name of the form that is given a sequence in pieces, if there is one
  void (*backward)(BackwardContext& context) = nullptr;
};

// ValueError, naming the part, when the spec lacks one that it needs or two parts contradict each other.
void require_complete(const OpSpec& spec);

}  // namespace mixgrad
