// The program as a process that runs while the test does something to it: signals, faults, limits.
#pragma once

#include <sys/resource.h>
#include <sys/types.h>

#include <csignal>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "tests/support/cli.h"

namespace mixgrad::test {

struct ProcessSetting {
  std::map<std::string, std::string> environment = {};  // added to the own
  rlim_t file_bytes = RLIM_INFINITY;                    // RLIMIT_FSIZE; SIGXFSZ is ignored then, so writes fail
  bool leaves_file_signal = false;                      // SIGXFSZ is not ignored
  rlim_t memory_bytes = RLIM_INFINITY;                  // RLIMIT_AS
  std::vector<int> closed = {};                         // descriptors that it does not get
  std::vector<int> ignored = {};                        // signals that it is started with ignored
  int out_descriptor = -1;                              // its stdout, in place of the file
};

class Process {
 public:
  // Its stdout and stderr go to files in `folder`.
  Process(const TempFolder& folder, const Arguments& arguments, const ProcessSetting& setting = {});
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;
  ~Process();

  // Whether the program runs by now and has a handler for this signal.
  bool catches(int number) const;

  // NAME=VALUE, a line each, as the program got it when it began.
  std::string environment() const;

  // Nothing when it has ended: kill(-1) would reach every process there is.
  void signal(int number) const;

  // Waits for its end; kTimedOut when that takes longer, and the process keeps running.
  Finished wait(double seconds);

 private:
  std::string out_, err_;
  pid_t child_ = -1;
};

void pause_for(double seconds);

// Asks every 5 ms until `holds` does; false when it does not within so many seconds.
bool wait_until(const std::function<bool()>& holds, double seconds = kSanitized ? 60 : 20);

}  // namespace mixgrad::test
