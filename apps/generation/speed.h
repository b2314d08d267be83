// How many tokens a second were generated, as one line on stderr.
#pragma once

#include <cstdint>

namespace mixgrad::app {

class Speed {
 public:
  void begin();  // the prompts are read; may be called for each of several batches
  void end();
  void count(std::int64_t tokens) { tokens_ += tokens; }
  // "mixgrad: 200 tokens in 0.31 s, 645 tokens a second"; nothing without a token.
  void say_it();

 private:
  std::int64_t tokens_ = 0;
  double seconds_ = 0;
  double began_ = -1;  // < 0: no time runs
};

}  // namespace mixgrad::app
