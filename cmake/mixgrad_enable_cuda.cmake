# Enables the language CUDA as this library's kernels need it. Installed too: a project with kernels of its own calls
# mixgrad_enable_cuda() after find_package(mixgrad). MIXGRAD_NVCC is the nvcc with which the library was built.
macro(mixgrad_enable_cuda)
  if(NOT DEFINED CMAKE_CUDA_ARCHITECTURES AND NOT DEFINED ENV{CUDAARCHS})
    set(CMAKE_CUDA_ARCHITECTURES native)  # of this machine's GPU; elsewhere -DCMAKE_CUDA_ARCHITECTURES=90
  endif()
  if(NOT DEFINED CMAKE_CUDA_COMPILER AND NOT DEFINED ENV{CUDACXX} AND EXISTS "${MIXGRAD_NVCC}")
    set(CMAKE_CUDA_COMPILER ${MIXGRAD_NVCC})
  endif()
  enable_language(CUDA)
  if(NOT CMAKE_CUDA20_STANDARD_COMPILE_OPTION)  # CMake 3.25 does not know the dialects of nvcc 13
    set(CMAKE_CUDA20_STANDARD_COMPILE_OPTION -std=c++20)
    set(CMAKE_CUDA20_EXTENSION_COMPILE_OPTION -std=c++20)
  endif()
  set(CMAKE_CUDA_STANDARD 20)
endmacro()
