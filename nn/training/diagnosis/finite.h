// Where in a training step the first number that is not finite came from.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "autograd/tape_observer.h"
#include "nn/modules/finite_values.h"

namespace mixgrad {

// While it lives, it looks at every operator's output and every gradient that this thread's tapes compute, and
// remembers the first that is not finite. It is for repeating a step whose loss or gradient was not finite: it costs a
// pass over every value.
class FiniteWatch : public TapeObserver {
 public:
  explicit FiniteWatch(const ParameterSet& parameters) : parameters_(parameters) {}

  // "the output of gelu (operator 7 of the tape, after layers.0.mlp.up.weight), f32 [12,64,512]: element 3 is nan";
  // empty when all was finite.
  const std::string& first() const { return first_; }

  void output(const TapeEvent& event, int k, const Tensor& value) override;
  void gradient(const TapeEvent& event, int input, const Tensor& gradient) override;

 private:
  void note_parameters(const TapeEvent& event);
  void look(const TapeEvent& event, const std::string& what, const Tensor& tensor);

  const ParameterSet& parameters_;
  std::string first_;
  std::string last_names_;
  // For each operator of the tape: ", with PARAMETERS", or ", after PARAMETERS" of the last operator that had some.
  std::vector<std::string> parameters_of_;
};

}  // namespace mixgrad
