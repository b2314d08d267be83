// What the laws of operators share.
#pragma once

#include <span>
#include <string>
#include <utility>
#include <vector>

#include "core/context.h"
#include "ops/cases/case_gradients.h"
#include "ops/cases/operator_laws.h"

namespace mixgrad::test {

inline constexpr DType kFloatDTypes[] = {DType::f64, DType::f32, DType::bf16};

// Counts a check and notes its failure.
class LawCheck {
 public:
  explicit LawCheck(LawReport& report) : report_(report) {}
  void about(const std::string& text) { about_ = text; }  // the case at hand, for failures
  void holds(bool condition, const std::string& failure) {
    ++report_.checks;
    if (!condition) report_.failures.push_back(about_ + ": " + failure);
  }
  // For functions whose answer is empty when all is well.
  void empty(const std::string& failure, const std::string& what) { holds(failure.empty(), what + ": " + failure); }

 private:
  LawReport& report_;
  std::string about_;
};

// So many threads until the scope ends.
struct ThreadScope : ContextScope {
  explicit ThreadScope(int count) : ContextScope(with_threads(count)) {}
};

std::vector<Tensor> copies_on(std::span<const Tensor> tensors, Device device);
bool equal_bits(const std::vector<Tensor>& a, const std::vector<Tensor>& b);

// The inputs of a case that are parameters of a model: leaves of its tape.
IndexSet parameters_of(const OpCase& c);

// The same function of x + 0 for all inputs but `leaves`: these are then values in the middle of a tape.
Function of_intermediates(const Function& run, IndexSet leaves);

void check_forward(const OperatorUnderCheck& subject, LawReport& report);
void check_errors(const OperatorUnderCheck& subject, LawReport& report);
void check_same_bits(const OperatorUnderCheck& subject, LawReport& report);
void check_recording(const OperatorUnderCheck& subject, LawReport& report);
void check_devices(const OperatorUnderCheck& subject, LawReport& report);
void check_differences(const OperatorUnderCheck& subject, LawReport& report);
void check_f32_gradients(const OperatorUnderCheck& subject, LawReport& report);
void check_bf16_gradients(const OperatorUnderCheck& subject, LawReport& report);
void check_accumulation(const OperatorUnderCheck& subject, LawReport& report);
void check_pieces(const OperatorUnderCheck& subject, LawReport& report);

}  // namespace mixgrad::test
