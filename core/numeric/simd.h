// Vectors of the widest registers that the build may use: the one vocabulary for inner loops that the compiler
// vectorises badly.
#pragma once

// An operator outside the library may be compiled for other instructions than the library itself. Each register size
// has a namespace of its own, so that the linker never takes a function of one for the other.
#if defined(__AVX512F__)
#define MIXGRAD_VECTORS vectors_of_64_bytes
#elif defined(__AVX2__)
#define MIXGRAD_VECTORS vectors_of_32_bytes
#else
#define MIXGRAD_VECTORS vectors_of_16_bytes
#endif

namespace mixgrad::cpu {
inline namespace MIXGRAD_VECTORS {

#if defined(__AVX512F__)
inline constexpr int kVectorBytes = 64;
#elif defined(__AVX2__)
inline constexpr int kVectorBytes = 32;
#else
inline constexpr int kVectorBytes = 16;
#endif

// UndefinedBehaviorSanitizer would check each index of small arrays whose indices are constants once the loops are
// unrolled, and take two fifths of the time of a training step in preset check. AddressSanitizer still watches the
// memory.
#define MIXGRAD_NO_UBSAN __attribute__((no_sanitize("undefined")))
#define MIXGRAD_INLINE inline __attribute__((always_inline, no_sanitize("undefined")))

template <class T>
struct VectorOf {
  typedef T Type __attribute__((vector_size(kVectorBytes)));  // NOLINT(modernize-use-using)
};
template <class T>
using Vector = typename VectorOf<T>::Type;
template <class T>
inline constexpr int kLanes = kVectorBytes / static_cast<int>(sizeof(T));  // elements of a vector

template <class T>
MIXGRAD_INLINE Vector<T> load(const T* from) {
  Vector<T> v;
  __builtin_memcpy(&v, from, sizeof(v));
  return v;
}

template <class T>
MIXGRAD_INLINE void store(T* to, Vector<T> v) {
  __builtin_memcpy(to, &v, sizeof(v));
}

template <class T>
MIXGRAD_INLINE Vector<T> broadcast(T value) {
  return value - Vector<T>{};  // x - 0 is x for every x, also -0; x + 0 is not
}

}  // namespace MIXGRAD_VECTORS
}  // namespace mixgrad::cpu
