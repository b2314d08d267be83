// The program on a terminal (a pty), for tests: what it shows, what is typed.
#pragma once

#include <sys/types.h>

#include <string>

#include "tests/support/cli.h"

namespace mixgrad::test {

class Terminal {
 public:
  explicit Terminal(const Arguments& arguments, unsigned short columns = 80, const char* kind = "xterm");
  ~Terminal();
  Terminal(const Terminal&) = delete;
  Terminal& operator=(const Terminal&) = delete;

  void type(const std::string& keys) const;
  // Whether `text` is shown within the time, behind what an earlier call has waited for.
  bool wait_for(const std::string& text, double seconds = kSanitized ? 60 : 10);
  // Reads until the program ends; its exit code, 128 + the signal, or kTimedOut.
  int finish();
  const std::string& shown() const { return shown_; }

 private:
  bool read_some(double seconds);

  int terminal_ = -1;
  pid_t child_ = -1;
  std::string shown_;
  std::size_t seen_ = 0;
};

}  // namespace mixgrad::test
