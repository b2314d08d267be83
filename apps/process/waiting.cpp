#include "apps/process/waiting.h"

#if defined(__linux__) && defined(__GNUC__) && !defined(__clang__) && !defined(MIXGRAD_SANITIZED)

#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <system_error>

namespace mixgrad::app {

void spin_briefly(char** argv) {
  if (std::getenv("OMP_WAIT_POLICY") != nullptr || std::getenv("GOMP_SPINCOUNT") != nullptr) return;
  std::error_code error;
  // The program's own path: with "/proc/self/exe" itself, process lists would show the name "exe".
  const std::filesystem::path self = std::filesystem::read_symlink("/proc/self/exe", error);
  if (error || ::setenv("GOMP_SPINCOUNT", "5000", 0) != 0) return;
  ::execv(self.c_str(), argv);
}

}  // namespace mixgrad::app

#else  // Other OpenMP libraries do not read GOMP_SPINCOUNT. Sanitizers must see the program from its first instruction.

namespace mixgrad::app {
void spin_briefly(char** /*argv*/) {}
}  // namespace mixgrad::app

#endif
