#include "ops/cases/operator_laws.h"

#include "core/error.h"
#include "ops/cases/law_support.h"

namespace mixgrad::test {

std::span<const OperatorLaw> operator_laws() {
  static constexpr OperatorLaw kLaws[] = {
      {.title = "forward is the oracle in f64, f32 and bf16", .check = check_forward},
      {.title = "every error has the promised text", .check = check_errors},
      {.title = "the same bits again, and for 1, 2 and 3 threads", .check = check_same_bits},
      {.title = "nothing is recorded without need, and a severed view throws", .check = check_recording},
      {.title = "a sequence in pieces gives what the whole gives, over 10,000 tokens",
       .check = check_pieces,
       .needs_cached_form = true},
      {.title = "the CPU and CUDA agree", .check = check_devices, .needs_cuda = true},
      {.title = "gradients are the central differences, and sabotage is caught", .check = check_differences},
      {.title = "gradients in f32 are those in f64", .check = check_f32_gradients},
      {.title = "gradients in bf16 are near those in f64, for the roles of a model and for any leaves",
       .check = check_bf16_gradients},
      {.title = "gradients of intermediate values add up with those of other uses", .check = check_accumulation},
  };
  return kLaws;
}

namespace {

void check_made(const OperatorLaw& law, const OperatorUnderCheck& subject, LawReport& report) {
  const std::size_t before = report.failures.size();
  ++report.laws;
  try {
    law.check(subject, report);
  } catch (const Error& error) {
    report.failures.push_back(std::string("stopped by an error: ") + error.what());
  }
  for (std::size_t i = before; i < report.failures.size(); ++i) {
    report.failures[i] = std::string(law.title) + ": " + report.failures[i];
  }
}

}  // namespace

LawReport check_law(const OperatorLaw& law, const OperatorCases& entry, const LawOptions& options) {
  const OpCases cases = entry.make();
  LawReport report{.op = entry.spec->name};
  if (!law.needs_cuda || options.device.is_cuda()) check_made(law, {*entry.spec, cases, options}, report);
  return report;
}

LawReport check_operator(const OperatorCases& entry, const LawOptions& options) {
  const OpCases cases = entry.make();
  LawReport report{.op = entry.spec->name};
  for (const OperatorLaw& law : operator_laws()) {
    if (!law.needs_cuda || options.device.is_cuda()) check_made(law, {*entry.spec, cases, options}, report);
  }
  return report;
}

std::string LawReport::text() const {
  const auto count = [](std::size_t number, const std::string& one) {
    return std::to_string(number) + " " + one + (number == 1 ? "" : "s");
  };
  std::string text = op + ": " + count(static_cast<std::size_t>(laws), "law") + ", " +
                     count(static_cast<std::size_t>(checks), "check") + ", " + std::to_string(failures.size()) +
                     " failed";
  const auto missing = operator_laws().size() - static_cast<std::size_t>(laws);
  if (laws > 1 && missing > 0) text += " (" + count(missing, "law") + " not run: cuda)";
  for (const std::string& failure : failures) text += "\n  " + failure;
  return text;
}

}  // namespace mixgrad::test
