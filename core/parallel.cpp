#include "core/parallel.h"

#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

namespace mixgrad {
#if MIXGRAD_HAS_OPENMP
namespace {
const int kDefaultThreads = omp_get_max_threads();
}

int threads() { return context().threads > 0 ? context().threads : kDefaultThreads; }
#else
int threads() { return 1; }
#endif

void flush_denormals() {
#if defined(__x86_64__)
  constexpr unsigned kFlushToZero = 0x8000U;
  constexpr unsigned kDenormalsAreZero = 0x0040U;
  _mm_setcsr(_mm_getcsr() | kFlushToZero | kDenormalsAreZero);
#endif
}

}  // namespace mixgrad
