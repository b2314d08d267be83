// mixgrad bench op: the time of one operator at given sizes, beside its bytes and operations.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "apps/options/option_set.h"
#include "apps/options/placement_options.h"

namespace mixgrad::app {

struct BenchOp {
  std::vector<std::string> names;  // none: the operators are listed with their sizes
  std::string sizes;               // "T=1024,C=1536"
  double peak_gb = 0, peak_gflop = 0;
  bool rounds_given = false, sizes_given = false, peak_gb_given = false, peak_gflop_given = false;

  void declare(OptionSet& options);  // those that belong to `bench op` alone
  // ValueError for options that do not fit together; `threads` as --threads has it, 0 = not given.
  void check(const PlacementOptions& placement, std::int64_t threads) const;
  // Under the context of the caller.
  void run(const PlacementOptions& placement, std::int64_t rounds, bool json) const;

 private:
  void list(bool json) const;
};

}  // namespace mixgrad::app
