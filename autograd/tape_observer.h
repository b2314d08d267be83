// Someone who looks at every value and gradient of a tape as it comes: the search for what is not finite, and tests
// that plant a value. While none lives, the tape asks one pointer per operator.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "autograd/op_spec.h"
#include "core/tensor.h"

namespace mixgrad {

struct TapeEvent {
  const OpSpec* spec = nullptr;
  std::size_t entry = 0;                 // place in the tape
  std::array<std::int32_t, 8> leaves{};  // of each input: the leaf that it is (or is a view of), -1 = none
};

// Registers itself for this thread on construction; of several, the oldest is told first. Not copied.
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
