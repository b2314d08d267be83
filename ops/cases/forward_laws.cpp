#include <algorithm>

#include "autograd/tape.h"
#include "core/error.h"
#include "ops/cases/close.h"
#include "ops/cases/law_support.h"

namespace mixgrad::test {

std::vector<Tensor> copies_on(std::span<const Tensor> tensors, Device device) {
  std::vector<Tensor> copies;
  for (const Tensor& tensor : tensors) copies.push_back(tensor.defined() ? tensor.to(device) : tensor);
  return copies;
}

bool equal_bits(const std::vector<Tensor>& a, const std::vector<Tensor>& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [](const Tensor& x, const Tensor& y) { return x.equal_bits(y); });
}

namespace {

std::string about(const OpCase& c, DType dtype) { return c.note + ", " + dtype_name(dtype); }

std::string output_name(std::size_t k) { return "output " + std::to_string(k); }

// What `call` does: the text of a mixgrad::Error, or what else happens.
std::string outcome(const std::function<void()>& call) {
  try {
    call();
  } catch (const Error& error) {
    return error.what();
  } catch (const std::exception& error) {
    return std::string("(an exception that is no mixgrad::Error) ") + error.what();
  }
  return "(no exception)";
}

enum class Outcome { nothing, grad_error, other };

Outcome outcome_of(const Function& run, const std::vector<Tensor>& inputs) {
  try {
    static_cast<void>(run(inputs));
  } catch (const GradError&) {
    return Outcome::grad_error;
  } catch (const std::exception&) {
    return Outcome::other;
  }
  return Outcome::nothing;
}

double device_tolerance(DType dtype) {
  switch (dtype) {
    case DType::f64: return 1e-9;
    case DType::f32: return 1e-4;
    case DType::bf16: return 5e-2;
    case DType::i32: break;
  }
  return 0;
}

void compare_devices(LawCheck& check, const std::vector<Tensor>& there, const std::vector<Tensor>& here,
                     const std::string& what, double tolerance) {
  double largest = 0;
  for (const Tensor& tensor : here) largest = std::max(largest, largest_of(tensor));
  for (std::size_t i = 0; i < here.size(); ++i) {
    const double own = largest_of(here[i]);
    const double scale = std::max(own > 1e-9 * largest ? own : largest, 1e-30);
    check.empty(not_close_to_scale(there[i], here[i], tolerance, scale), what + " " + std::to_string(i));
  }
}

}  // namespace

void check_forward(const OperatorUnderCheck& subject, LawReport& report) {
  LawCheck check(report);
  for (const OpCase& c : subject.cases.cases) {
    for (const DType dtype : kFloatDTypes) {
      check.about(about(c, dtype));
      const std::vector<Tensor> inputs = copies_on(inputs_as(c, dtype), subject.options.device);
      const std::vector<Tensor> got = copies_on(c.run(inputs), kCpu);
      const std::vector<Tensor> want = c.oracle(rounded_inputs(c, dtype));
      check.holds(got.size() == want.size(),
                  std::to_string(got.size()) + " outputs, the oracle has " + std::to_string(want.size()));
      for (std::size_t k = 0; k < std::min(got.size(), want.size()); ++k) {
        check.empty(not_close(got[k], want[k], dtype_tolerance(dtype)), output_name(k));
        const bool in_f32 = c.f32_outputs.contains(static_cast<int>(k)) && dtype == DType::bf16;
        const char* type = dtype_name(in_f32 ? DType::f32 : dtype);
        check.holds(std::string(type) == dtype_name(got[k].dtype()),
                    output_name(k) + " is " + dtype_name(got[k].dtype()) + ", must be " + type);
      }
    }
  }
}

void check_errors(const OperatorUnderCheck& subject, LawReport& report) {
  LawCheck check(report);
  for (const ErrorCase& e : subject.cases.errors) {
    check.about(e.note);
    const std::string got = outcome(e.call);
    check.holds(got == e.message, "the error is \"" + got + "\", must be \"" + e.message + "\"");
  }
}

void check_same_bits(const OperatorUnderCheck& subject, LawReport& report) {
  LawCheck check(report);
  for (const OpCase& c : subject.cases.cases) {
    const Function run = of_intermediates(c.run, parameters_of(c));
    for (const DType dtype : kFloatDTypes) {
      check.about(about(c, dtype));
      const auto with_threads = [&](int count) {
        const ThreadScope scope(count);
        return run_with_gradients(run, inputs_as(c, dtype), subject.options.device);
      };
      const Results first = with_threads(1);
      for (const int count : {1, 2, 3}) {
        const Results again = with_threads(count);
        const std::string when = " differ when computed again with " + std::to_string(count) + " threads";
        check.holds(equal_bits(again.outputs, first.outputs), "outputs" + when);
        check.holds(equal_bits(again.gradients, first.gradients), "gradients" + when);
      }
    }
  }
}

void check_recording(const OperatorUnderCheck& subject, LawReport& report) {
  LawCheck check(report);
  for (const OpCase& c : subject.cases.cases) {
    check.about(c.note);
    const std::vector<Tensor> given = copies_on(c.inputs, subject.options.device);
    for (const Tensor& output : c.run(given)) {
      check.holds(output.track().slot == Track::kNone, "an output is tracked without a tape");
    }
    Tape tape;
    for (const Tensor& output : c.run(given)) check.holds(!tracked(output), "an output of untracked inputs is tracked");
    check.holds(tape.entries() == 0, "a call with untracked inputs was recorded");
    for (std::size_t i = 0; i < given.size(); ++i) {
      if (!takes_gradient(given[i])) continue;
      const std::string input = "input " + std::to_string(i);
      std::vector<Tensor> inputs = given;
      Tensor leaf = given[i].clone();
      tape.watch(leaf);
      inputs[i] = leaf.clone();  // severed: its gradient would be lost
      check.holds(outcome_of(c.run, inputs) == Outcome::grad_error, input + " is a severed copy and no GradError came");
      inputs[i] = leaf.detach();  // on purpose
      check.holds(outcome_of(c.run, inputs) == Outcome::nothing, input + " is detached and an error came");
    }
    check.holds(tape.entries() == 0, "a refused or detached call was recorded");
  }
}

void check_devices(const OperatorUnderCheck& subject, LawReport& report) {
  LawCheck check(report);
  for (const OpCase& c : subject.cases.cases) {
    for (const DType dtype : kFloatDTypes) {
      check.about(about(c, dtype));
      const Results here = run_with_gradients(c.run, inputs_as(c, dtype), kCpu);
      const Results there = run_with_gradients(c.run, inputs_as(c, dtype), subject.options.device);
      compare_devices(check, there.outputs, here.outputs, "output", device_tolerance(dtype));
      compare_devices(check, there.gradients, here.gradients, "gradient", device_tolerance(dtype));
    }
  }
}

}  // namespace mixgrad::test
