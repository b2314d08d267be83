// Whether this build runs under a sanitizer or valgrind: slow, with memory of their own, and what they find ends it.
#pragma once

namespace mixgrad::test {

#ifdef MIXGRAD_SANITIZED
inline constexpr bool kSanitized = true;
#else
inline constexpr bool kSanitized = false;
#endif

}  // namespace mixgrad::test
