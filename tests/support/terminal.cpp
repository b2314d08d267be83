#include "tests/support/terminal.h"

#include <poll.h>
#include <pty.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdlib>

#include "tests/support/process.h"

namespace mixgrad::test {

Terminal::Terminal(const Arguments& arguments, unsigned short columns, const char* kind) {
  std::vector<char*> argv{const_cast<char*>(MIXGRAD_BINARY)};
  for (const std::string& argument : arguments) argv.push_back(const_cast<char*>(argument.c_str()));
  argv.push_back(nullptr);
  const winsize size{.ws_row = 24, .ws_col = columns, .ws_xpixel = 0, .ws_ypixel = 0};
  child_ = ::forkpty(&terminal_, nullptr, nullptr, &size);
  if (child_ == 0) {
    ::setenv("TERM", kind, 1);  // NOLINT(concurrency-mt-unsafe): the child has one thread
    ::execv(argv[0], argv.data());
    ::_exit(127);
  }
}

Terminal::~Terminal() {
  if (child_ > 0) {  // kill(-1) would reach every process there is
    ::kill(child_, SIGKILL);
    ::waitpid(child_, nullptr, 0);
  }
  if (terminal_ >= 0) ::close(terminal_);
}

void Terminal::type(const std::string& keys) const {
  for (std::size_t at = 0; at < keys.size();) {
    const ssize_t written = ::write(terminal_, keys.data() + at, keys.size() - at);
    if (written <= 0) return;
    at += static_cast<std::size_t>(written);
  }
}

bool Terminal::read_some(double seconds) {
  pollfd open{terminal_, POLLIN, 0};
  if (::poll(&open, 1, static_cast<int>(seconds * 1000)) <= 0) return false;
  char chunk[4096];
  const ssize_t got = ::read(terminal_, chunk, sizeof chunk);
  if (got <= 0) return false;
  shown_.append(chunk, static_cast<std::size_t>(got));
  return true;
}

bool Terminal::wait_for(const std::string& text, double seconds) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::duration<double>(seconds);
  for (;;) {
    if (const std::size_t at = shown_.find(text, seen_); at != std::string::npos) {
      seen_ = at + text.size();
      return true;
    }
    const double left = std::chrono::duration<double>(end - std::chrono::steady_clock::now()).count();
    if (left <= 0 || !read_some(left)) return false;
  }
}

int Terminal::finish() {
  while (read_some(kSanitized ? 100 : 20)) {
  }
  int status = 0;
  bool ended = false;
  wait_until([&] { return ended = ::waitpid(child_, &status, WNOHANG) == child_; }, 10);
  if (!ended) return kTimedOut;  // it waits for something that never comes
  child_ = -1;
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

}  // namespace mixgrad::test
