# Flags of every target of ours.
include(CheckCXXCompilerFlag)

add_library(mixgrad_flags INTERFACE)
target_include_directories(mixgrad_flags INTERFACE ${CMAKE_SOURCE_DIR})
target_link_libraries(mixgrad_flags INTERFACE OpenMP::OpenMP_CXX)
# Neither of the last two changes a value; without them comparisons and square roots are not vectorised.
set(cxx $<COMPILE_LANGUAGE:CXX>)
target_compile_options(mixgrad_flags INTERFACE $<${cxx}:-Wall -Wextra -Wshadow -fno-math-errno -fno-trapping-math>)
# Device lambdas, and constexpr functions of the headers on the device. No --use_fast_math: the checks are in f64 and f32.
target_compile_options(mixgrad_flags INTERFACE $<$<COMPILE_LANGUAGE:CUDA>:--extended-lambda --expt-relaxed-constexpr>)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  target_compile_options(mixgrad_flags INTERFACE $<${cxx}:-Wno-restrict>)  # false alarms of GCC 12 on std::string
endif()
if(MIXGRAD_WERROR)
  target_compile_options(mixgrad_flags INTERFACE $<${cxx}:-Werror>)
  if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 13)
    # False alarms of GCC 12 on its own _mm512_undefined_ps, in Eigen and in ours: shown on machines with AVX-512, not fatal.
    target_compile_options(mixgrad_flags INTERFACE $<${cxx}:-Wno-error=maybe-uninitialized>)
  endif()
endif()
if(MIXGRAD_NATIVE)
  check_cxx_compiler_flag(-march=native MIXGRAD_HAS_NATIVE)
  if(MIXGRAD_HAS_NATIVE)
    target_compile_options(mixgrad_flags INTERFACE $<${cxx}:-march=native>)
  else()
    message(WARNING "MIXGRAD_NATIVE: ${CMAKE_CXX_COMPILER} has no -march=native; building for its default processor")
  endif()
endif()
if(MIXGRAD_CHECKED)
  target_compile_definitions(mixgrad_flags INTERFACE MIXGRAD_CHECKED)
endif()
if(MIXGRAD_SANITIZE OR MIXGRAD_SANITIZE_THREADS)
  target_compile_definitions(mixgrad_flags INTERFACE MIXGRAD_SANITIZED)  # what the tests then leave to the sanitizer
endif()
if(MIXGRAD_SANITIZE)
  set(sanitizers -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer)
  target_compile_options(mixgrad_flags INTERFACE ${sanitizers})
  target_link_options(mixgrad_flags INTERFACE ${sanitizers})
  if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    target_compile_options(mixgrad_flags INTERFACE -Wno-maybe-uninitialized)  # false alarms in instrumented code
  endif()
endif()
if(MIXGRAD_SANITIZE_THREADS)
  if(NOT CMAKE_CXX_COMPILER_ID STREQUAL "Clang")
    message(FATAL_ERROR "MIXGRAD_SANITIZE_THREADS: clang and libomp are required (preset tsan); GCC's OpenMP tells "
                        "ThreadSanitizer nothing, and every parallel loop would be reported")
  endif()
  # The calls of the sanitizer stand in the way of `omp simd`, which clang then tells of every loop.
  target_compile_options(mixgrad_flags INTERFACE -fsanitize=thread -fno-omit-frame-pointer -Wno-pass-failed)
  target_link_options(mixgrad_flags INTERFACE -fsanitize=thread)
endif()
if(MIXGRAD_COVERAGE)
  target_compile_options(mixgrad_flags INTERFACE --coverage -fprofile-update=atomic)  # atomic: kernels run in threads
  target_link_options(mixgrad_flags INTERFACE --coverage)
endif()
if(MIXGRAD_CUDA)
  target_compile_definitions(mixgrad_flags INTERFACE MIXGRAD_CUDA)
endif()
