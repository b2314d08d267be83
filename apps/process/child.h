// Another process of this program, such as one run of a sweep.
#pragma once

#include <sys/types.h>
#include <string>
#include <vector>

namespace mixgrad::app {

// Starts `mixgrad arguments...` in a group of its own, so that Ctrl-C reaches it only through this process; when this
// process dies, it is killed. What it prints, on stdout and stderr, is appended to the file `log`. IoError when it
// cannot be started. Before there are other threads.
pid_t start_child(const std::vector<std::string>& arguments, const std::string& log);

// An option of the verb that a child runs: of_child("resume").
inline std::string of_child(const char* name) { return std::string("--") + name; }

// The exit code (128 + the number of a signal that ended it), or -1 while it runs.
int child_code(pid_t child);

// Runs `mixgrad arguments...` to its end.
struct ChildOutput {
  int code = 0;
  std::string out, err;
};
ChildOutput run_child(const std::vector<std::string>& arguments);

// Its error line, without the name of the program.
std::string error_of(const ChildOutput& child);

}  // namespace mixgrad::app
