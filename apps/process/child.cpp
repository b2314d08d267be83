#include "apps/process/child.h"

#include <fcntl.h>
#include <spawn.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>

#include "core/error.h"

extern char** environ;

namespace mixgrad::app {
namespace {

constexpr int kSystemCode = 4;  // ExitCode::kSystem
constexpr const char* kThisProgram = "/proc/self/exe";

// The pointers that posix_spawn takes; `words` outlives them.
std::vector<char*> pointers(std::vector<std::string>& words) {
  std::vector<char*> all;
  for (std::string& word : words) all.push_back(word.data());
  all.push_back(nullptr);
  return all;
}

// File actions that are freed again.
struct Actions {
  posix_spawn_file_actions_t actions;
  Actions() { posix_spawn_file_actions_init(&actions); }
  ~Actions() { posix_spawn_file_actions_destroy(&actions); }
  Actions(const Actions&) = delete;
  Actions& operator=(const Actions&) = delete;
};

pid_t spawn(const std::vector<std::string>& arguments, const Actions& actions) {
  std::vector<std::string> words{"mixgrad"};
  words.insert(words.end(), arguments.begin(), arguments.end());
  pid_t child = 0;
  const int error = posix_spawn(&child, kThisProgram, &actions.actions, nullptr, pointers(words).data(), environ);
  if (error != 0) raise<IoError>("cannot start another process of this program: ", std::strerror(error));
  return child;
}

// Reads both ends until they are closed. A few lines fit into a pipe, so that one after the other is enough.
std::string read_all(int descriptor) {
  std::string text;
  std::array<char, 4096> buffer{};
  for (;;) {
    const ssize_t got = read(descriptor, buffer.data(), buffer.size());
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return text;
    text.append(buffer.data(), static_cast<std::size_t>(got));
  }
}

int code_of(int status) { return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status); }

}  // namespace

pid_t start_child(const std::vector<std::string>& arguments, const std::string& log) {
  std::vector<std::string> words{"mixgrad"};
  words.insert(words.end(), arguments.begin(), arguments.end());
  const std::vector<char*> own = pointers(words);
  const int output = open(log.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
  if (output < 0) raise<IoError>(log, ": cannot be written: ", std::strerror(errno));
  const pid_t parent = getpid();
  const pid_t child = fork();
  if (child == 0) {  // only calls that are allowed after a fork
    setpgid(0, 0);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) _exit(kSystemCode);
    const int nothing = open("/dev/null", O_RDONLY);
    if (nothing > STDIN_FILENO) dup2(nothing, STDIN_FILENO);
    dup2(output, STDOUT_FILENO);
    dup2(output, STDERR_FILENO);
    execv(kThisProgram, own.data());
    _exit(kSystemCode);
  }
  const int error = errno;
  close(output);
  if (child < 0) raise<IoError>("cannot start another process of this program: ", std::strerror(error));
  return child;
}

int child_code(pid_t child) {
  int status = 0;
  const pid_t ended = waitpid(child, &status, WNOHANG);
  if (ended == 0 || (ended < 0 && errno == EINTR)) return -1;
  return ended < 0 ? 1 : code_of(status);
}

ChildOutput run_child(const std::vector<std::string>& arguments) {
  std::array<int, 2> out{};
  std::array<int, 2> err{};
  if (pipe2(out.data(), O_CLOEXEC) != 0) raise<IoError>("cannot make a pipe: ", std::strerror(errno));
  if (pipe2(err.data(), O_CLOEXEC) != 0) {
    close(out[0]);
    close(out[1]);
    raise<IoError>("cannot make a pipe: ", std::strerror(errno));
  }
  Actions actions;
  posix_spawn_file_actions_addopen(&actions.actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_adddup2(&actions.actions, out[1], STDOUT_FILENO);
  posix_spawn_file_actions_adddup2(&actions.actions, err[1], STDERR_FILENO);
  ChildOutput result;
  pid_t child = 0;
  try {
    child = spawn(arguments, actions);
  } catch (...) {
    for (const int descriptor : {out[0], out[1], err[0], err[1]}) close(descriptor);
    throw;
  }
  close(out[1]);
  close(err[1]);
  result.out = read_all(out[0]);
  result.err = read_all(err[0]);
  close(out[0]);
  close(err[0]);
  int status = 0;
  while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  result.code = code_of(status);
  return result;
}

std::string error_of(const ChildOutput& child) {
  std::string text = child.err;
  while (!text.empty() && text.back() == '\n') text.pop_back();
  text.erase(0, text.rfind('\n') == std::string::npos ? 0 : text.rfind('\n') + 1);
  const std::string prefix = "mixgrad: ";
  return text.starts_with(prefix) ? text.substr(prefix.size()) : text;
}

}  // namespace mixgrad::app
