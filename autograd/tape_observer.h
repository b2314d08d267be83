// An observer sees every value and gradient of a tape as it is computed: the search for values that are not finite, and
// tests that plant one. Without an observer this costs the tape one comparison per operator.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "autograd/op_spec.h"
#include "core/tensor.h"

namespace mixgrad {

struct TapeEvent {
  const OpSpec* spec = nullptr;
  std::size_t entry = 0;                            // its index in the tape
  std::array<std::int32_t, kMaxOpInputs> leaves{};  // of each input: the leaf that it is (or is a view of), -1 = none
};

// Registers itself for this thread on construction; the oldest of several observers is told first. Not copied.
class TapeObserver {
 public:
  TapeObserver();
  virtual ~TapeObserver();
  TapeObserver(const TapeObserver&) = delete;
  TapeObserver& operator=(const TapeObserver&) = delete;

  // After the operator's forward: output k.
  virtual void output(const TapeEvent& event, int k, const Tensor& value) = 0;
  // After the operator's backward: what its input's gradient is now, contributions of later operators included.
  virtual void gradient(const TapeEvent& event, int input, const Tensor& gradient) = 0;
  // At the end of a backward pass: no operator gave some columns of this leaf a gradient, so they have been zeroed.
  virtual void columns_zeroed(std::int32_t /*leaf*/, const Tensor& /*gradient*/) {}

 private:
  friend class Tape;
  static TapeObserver*& newest();
  TapeObserver* older_;

  template <class Tell>
  static void tell(TapeObserver* observer, const Tell& what) {
    if (observer == nullptr) return;
    tell(observer->older_, what);
    what(*observer);
  }
};

}  // namespace mixgrad
