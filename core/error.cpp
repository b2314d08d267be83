#include "core/error.h"

#include <cstdio>
#include <cstdlib>

namespace mixgrad {

void assert_failed(const char* condition, const char* why, const char* file, int line) {
  std::fprintf(stderr, "%s:%d: broken assumption '%s': %s. This is a mistake in mixgrad; please report it.\n", file,
               line, condition, why);
  std::abort();
}

}  // namespace mixgrad
