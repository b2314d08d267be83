// The processes of a run: this one's part in the job that a launcher started, and who prints what.
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <string>

#include "nn/distributed/communicator.h"
#include "nn/model/decoder.h"

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
  int stdout_ = -1, stderr_ = -1;  // copies of the descriptors while 1 and 2 lead to /dev/null; -1: it prints
};

// Whether this process is the only one of its job. ValueError for variables of a launcher that contradict each other.
bool started_alone();

// The XXH3 of the weights, as the optimizer has them: what ranks compare.
std::string weights_hash(const Decoder& model);

// Runs `work` in the job of this process, and returns its exit code. An error of one rank ends the others, which name
// it. Rank 0 alone prints an error that all ranks have; that of another rank begins with "rank N: ". `options.folder`
// is that of the run, if it has one.
int run_in_job(const JoinOptions& options, const std::function<int(Communicator& ranks)>& work);
JoinOptions join_options(double timeout_s, const std::filesystem::path& folder = {});

}  // namespace mixgrad::app
