// Which of cuBLASLt's algorithms computes each product on a CUDA device.
//
// By default it is the first that the library's heuristic names, among those that add up in a fixed order. While a
// MatmulTiming lives, each kind of product that has not occurred before is timed once on numbers of its own, and the
// quickest algorithm that gives the same bits as that first one is kept, with random numbers and with sums that cancel
// (of results in bf16 random numbers alone may show no difference between two orders of adding up): a choice changes
// the time of a run and never its results. A training run times its first step and keeps the choices in trainer.json; a
// resumed run reads them there and never times again.
#pragma once

#include <map>
#include <string>

namespace mixgrad {

struct MatmulChoices {
  std::string library;                            // what they are valid for: version and device, cuda::matmul_library()
  std::map<std::string, std::string> algorithms;  // by product (its types, sizes and layout): 128 hexadecimal digits

  friend bool operator==(const MatmulChoices&, const MatmulChoices&) = default;
};

// Of the whole process. Given choices hold for products that are met afterwards.
void set_matmul_choices(const MatmulChoices& choices);
// Those given and those timed so far; `library` is empty when there are none.
MatmulChoices matmul_choices();

class MatmulTiming {
 public:
  MatmulTiming();
  ~MatmulTiming();
  MatmulTiming(const MatmulTiming&) = delete;
  MatmulTiming& operator=(const MatmulTiming&) = delete;
  static bool on();  // in any thread
};

// For the kernels: the choice for a product, or an empty text; and a new one.
std::string matmul_choice(const std::string& product);
void note_matmul_choice(const std::string& library, const std::string& product, const std::string& algorithm);

}  // namespace mixgrad
