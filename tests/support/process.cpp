#include "tests/support/process.h"

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <thread>

namespace mixgrad::test {
namespace {

void limit(int what, rlim_t value) {
  const rlimit both{value, value};
  if (value != RLIM_INFINITY) ::setrlimit(static_cast<__rlimit_resource_t>(what), &both);
}

}  // namespace

Process::Process(const TempFolder& folder, const Arguments& arguments, const ProcessSetting& setting)
    : out_((folder / "stdout").string()), err_((folder / "stderr").string()) {
  std::vector<char*> argv{const_cast<char*>(MIXGRAD_BINARY)};
  for (const std::string& argument : arguments) argv.push_back(const_cast<char*>(argument.c_str()));
  argv.push_back(nullptr);
  std::vector<std::string> texts;
  for (char** item = environ; *item != nullptr; ++item) texts.emplace_back(*item);
  for (const auto& [name, value] : setting.environment) texts.emplace_back(name).append("=").append(value);
  std::vector<char*> environment;
  for (std::string& text : texts) environment.push_back(text.data());
  environment.push_back(nullptr);
  // A signal that comes before the program runs must end it, not this program's own handler in the child; and one
  // that was ignored where the tests were started (SIGINT behind a shell's `&`) would stay ignored.
  sigset_t stops;
  sigset_t before;
  ::sigemptyset(&stops);
  ::sigaddset(&stops, SIGINT);
  ::sigaddset(&stops, SIGTERM);
  ::sigprocmask(SIG_BLOCK, &stops, &before);
  child_ = ::fork();
  if (child_ != 0) {
    ::sigprocmask(SIG_SETMASK, &before, nullptr);
    return;
  }
  for (const int number : {SIGHUP, SIGINT, SIGQUIT, SIGUSR1, SIGUSR2, SIGPIPE, SIGALRM, SIGTERM, SIGXCPU}) {
    ::signal(number, SIG_DFL);
  }
  for (const int number : setting.ignored) ::signal(number, SIG_IGN);
  ::sigprocmask(SIG_UNBLOCK, &stops, nullptr);
  ::dup2(::open(out_.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600), STDOUT_FILENO);
  ::dup2(::open(err_.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600), STDERR_FILENO);
  limit(RLIMIT_CORE, 0);
  limit(RLIMIT_FSIZE, setting.file_bytes);
  limit(RLIMIT_AS, setting.memory_bytes);
  if (setting.out_descriptor >= 0) ::dup2(setting.out_descriptor, STDOUT_FILENO);
  for (const int number : setting.closed) ::close(number);
  if (setting.file_bytes != RLIM_INFINITY && !setting.leaves_file_signal) ::signal(SIGXFSZ, SIG_IGN);
  ::execve(argv[0], argv.data(), environment.data());
  ::_exit(127);
}

Process::~Process() {
  if (child_ > 0) {
    ::kill(child_, SIGKILL);
    wait(10);
  }
}

bool Process::catches(int number) const {
  const std::string status = TempFolder::get("/proc/" + std::to_string(child_) + "/status");
  if (!has(status, "Name:\tmixgrad\n")) return false;  // still this program's copy
  const std::size_t mask = status.find("SigCgt:\t");   // 16 hexadecimal digits, a bit for each signal
  return mask != std::string::npos &&
         (std::stoull(status.substr(mask + 8, 16), nullptr, 16) >> (number - 1) & 1U) == 1U;
}

std::string Process::environment() const {
  std::string text = TempFolder::get("/proc/" + std::to_string(child_) + "/environ");
  std::replace(text.begin(), text.end(), '\0', '\n');
  return text;
}

void Process::signal(int number) const {
  if (child_ > 0) ::kill(child_, number);
}

Finished Process::wait(double seconds) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::duration<double>(seconds);
  int status = 0;
  while (::waitpid(child_, &status, WNOHANG) == 0) {
    if (std::chrono::steady_clock::now() > end) return {kTimedOut, "", ""};
    std::this_thread::sleep_for(std::chrono::microseconds(500));
  }
  child_ = -1;
  return {WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status), TempFolder::get(out_),
          TempFolder::get(err_)};
}

void pause_for(double seconds) { std::this_thread::sleep_for(std::chrono::duration<double>(seconds)); }

bool wait_until(const std::function<bool()>& holds, double seconds) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::duration<double>(seconds);
  while (!holds()) {
    if (std::chrono::steady_clock::now() > end) return false;
    pause_for(0.005);
  }
  return true;
}

}  // namespace mixgrad::test
