// When a run ends before its last step because the validation loss falls no more.
#pragma once

#include <cstdint>
#include <string>

namespace mixgrad::app {

// --early-stop patience=5,min-delta=0.001
struct EarlyStop {
  std::int64_t patience = 0;  // scheduled evaluations without a gain; 0 = never stop early
  double min_delta = 0;       // what counts as a gain, nats a token: a loss below the best by more than this
};
EarlyStop parse_early_stop(const std::string& text);  // ValueError; "" = never

}  // namespace mixgrad::app
