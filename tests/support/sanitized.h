// Whether this build runs under a sanitizer or valgrind: slow, with memory of their own, and what they find ends it.
#pragma once

namespace mixgrad::test {

#ifdef MIXGRAD_SANITIZED
inline constexpr bool kSanitized = true;
#else
inline constexpr bool kSanitized = false;
#endif

// Under ThreadSanitizer alone, which has files of its own: with a limit of their size it ends the program.
#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
inline constexpr bool kThreadSanitized = true;
#else
inline constexpr bool kThreadSanitized = false;
#endif
#else
inline constexpr bool kThreadSanitized = false;
#endif

}  // namespace mixgrad::test
