#include "apps/run/waiting.h"

#if defined(__linux__) && defined(__GNUC__) && !defined(__clang__) && !defined(MIXGRAD_SANITIZED)

#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <system_error>

namespace mixgrad::app {

void spin_briefly(char** argv) {
  if (std::getenv("OMP_WAIT_POLICY") != nullptr || std::getenv("GOMP_SPINCOUNT") != nullptr) return;
  std::error_code error;
  // By its name, or process lists would show "exe".
  const std::filesystem::path self = std::filesystem::read_symlink("/proc/self/exe", error);
  if (error || ::setenv("GOMP_SPINCOUNT", "5000", 0) != 0) return;
  ::execv(self.c_str(), argv);
}

}  // namespace mixgrad::app

#else  // other OpenMP libraries; tools that watch a program from its first instruction on

namespace mixgrad::app {
void spin_briefly(char** /*argv*/) {}
}  // namespace mixgrad::app

#endif
