#include "core/parallel.h"

#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

#include "core/error.h"

namespace mixgrad {
namespace {
int g_threads = omp_get_max_threads();
}

int threads() { return g_threads; }

void set_threads(int count) {
  if (count < 1) raise<ValueError>("threads: must be at least 1, got ", count);
  g_threads = count;
}

void flush_denormals() {
#if defined(__x86_64__)
  constexpr unsigned kFlushToZero = 0x8000U;
  constexpr unsigned kDenormalsAreZero = 0x0040U;
  _mm_setcsr(_mm_getcsr() | kFlushToZero | kDenormalsAreZero);
#endif
}

}  // namespace mixgrad
