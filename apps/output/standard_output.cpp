#include "apps/output/standard_output.h"

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <system_error>

#include "core/system/interrupt.h"

namespace mixgrad::app {

void hold_standard_descriptors() {
  for (int number = STDIN_FILENO; number <= STDERR_FILENO; ++number) {
    if (::fcntl(number, F_GETFD) >= 0) continue;
    // The lowest free number is `number`. A descriptor of O_PATH can be neither read nor written (EBADF).
    if (::open("/", O_PATH | O_CLOEXEC) != number) return;
  }
}

void require_open_stdout(const char* what) {
  if (::write(STDOUT_FILENO, "", 0) == 0) return;  // a closed one says EBADF, and /dev/full ENOSPC
  raise<OutputLost>(what, ": stdout must be writable; it is not: ", std::generic_category().message(errno),
                    "; redirect it to a file or a pipe");
}

bool stdout_has_reader() {
  pollfd out{STDOUT_FILENO, 0, 0};
  return ::poll(&out, 1, 0) <= 0 || (out.revents & POLLERR) == 0;
}

void flush_stdout() {
  if (std::fflush(stdout) == 0) return;
  const int error = errno;
  if (error == EPIPE) throw Interrupted{SIGPIPE};
  raise<OutputLost>("stdout: cannot be written: ", std::generic_category().message(error));
}

}  // namespace mixgrad::app
