// What holds for every operator, checked by its cases. For operators of this library and of any other program:
//
//   const LawReport report = check_operator({&square_spec, square_cases});
//   std::puts(report.text().c_str());   // "square: 9 laws, 214 checks, 0 failed"
//   return report.pass() ? 0 : 1;
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include "core/device.h"
#include "ops/cases/cases.h"

namespace mixgrad::test {

struct LawOptions {
  Device device = kCpu;  // where the operator runs
  // For slow builds (sanitizers): central differences of as few cases as reach every gradient, and shorter sequences.
  bool brief = false;
};

// An operator under check: its cases are made once for all laws.
struct OperatorUnderCheck {
  const OpSpec& spec;
  const OpCases& cases;
  LawOptions options;
};

struct LawReport {
  std::string op;
  int laws = 0;
  int checks = 0;
  std::vector<std::string> failures = {};  // "law: case: what is wrong"

  bool pass() const { return failures.empty(); }
  std::string text() const;  // one line of counts, then one line for each failure
};

// One law. `check` adds to the report; without a failure the law holds.
struct OperatorLaw {
  const char* title;  // "forward is the oracle in f64, f32 and bf16"
  void (*check)(const OperatorUnderCheck& subject, LawReport& report);
  bool needs_cuda = false;         // compares the devices: nothing to check for an operator that runs on the CPU
  bool needs_cached_form = false;  // nothing to check for an operator without one
};
std::span<const OperatorLaw> operator_laws();  // first those of the values, then those of the gradients
inline constexpr std::size_t kValueLaws = 6;

// One law, or all of them. On the CPU those that need CUDA are left out; their number shows in the report.
LawReport check_law(const OperatorLaw& law, const OperatorCases& entry, const LawOptions& options = {});
LawReport check_operator(const OperatorCases& entry, const LawOptions& options = {});

}  // namespace mixgrad::test
