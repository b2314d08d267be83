// Whether this build runs under a sanitizer, which is slow, owns the memory, and ends the process by itself.
#pragma once

namespace mixgrad::test {

#ifdef MIXGRAD_SANITIZED
inline constexpr bool kSanitized = true;
#else
inline constexpr bool kSanitized = false;
#endif

}  // namespace mixgrad::test
