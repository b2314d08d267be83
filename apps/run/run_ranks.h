// The processes of a run: this one's part in the job that a launcher started, and who prints what.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "nn/distributed/communicator.h"

namespace mixgrad::app {

// While it lives, a rank other than 0 prints nothing: stdout and stderr of rank 0 are those of the run.
class QuietRank {
 public:
  explicit QuietRank(bool quiet);
  ~QuietRank() { speak(); }
  QuietRank(const QuietRank&) = delete;
  QuietRank& operator=(const QuietRank&) = delete;

  void speak();       // prints again
  void stay_quiet();  // also after its end
  bool quiet() const { return stderr_ >= 0; }

 private:
  int stdout_ = -1, stderr_ = -1;  // the real ones
};

// Whether a launcher started several processes. ValueError for an environment that cannot be.
bool started_alone();

// Runs `work` in the job of this process, and returns its exit code. An error of one rank ends the others, which name
// it; an error of all is printed by rank 0 alone, that of another rank begins with "rank N: ".
int run_in_job(double timeout_s, const std::function<int(Communicator& ranks)>& work);

}  // namespace mixgrad::app
