// Private to nn/distributed/nccl_sums.cu: the functions of NCCL's library. It is opened when the first job of several
// devices needs it, so that a program with NCCL starts on machines without it.
#pragma once

#include <dlfcn.h>
#include <nccl.h>

#include <string>

#include "core/error.h"

namespace mixgrad::cuda {

class NcclLibrary {
 private:
  void* library_ = open();  // never closed; the functions below are loaded from it

  // The one that the system finds, else the one with which this library was built.
  static void* open() {
    for (const char* path : {"libnccl.so.2", MIXGRAD_NCCL_PATH}) {
      if (void* library = dlopen(path, RTLD_NOW | RTLD_LOCAL)) return library;
    }
    const char* why = dlerror();
    raise<IoError>("NCCL: several devices need libnccl.so.2, which cannot be opened: ", why == nullptr ? "" : why,
                   "; install it, or name its folder in LD_LIBRARY_PATH");
  }
  template <class F>
  F load(const char* name) const {
    if (void* function = dlsym(library_, name)) return reinterpret_cast<F>(function);
    raise<IoError>("NCCL: libnccl.so.2 has no function ", name, "; a newer NCCL is required");
  }

 public:
  // IoError when it is not found or too old.
  static const NcclLibrary& get() {
    static const NcclLibrary library;
    return library;
  }

#define MIXGRAD_NCCL_FUNCTION(name) decltype(&::name) name = load<decltype(&::name)>(#name)
  MIXGRAD_NCCL_FUNCTION(ncclGetVersion);
  MIXGRAD_NCCL_FUNCTION(ncclGetErrorString);
  MIXGRAD_NCCL_FUNCTION(ncclGetUniqueId);
  MIXGRAD_NCCL_FUNCTION(ncclCommInitRank);
  MIXGRAD_NCCL_FUNCTION(ncclCommDestroy);
  MIXGRAD_NCCL_FUNCTION(ncclCommAbort);
  MIXGRAD_NCCL_FUNCTION(ncclCommGetAsyncError);
  MIXGRAD_NCCL_FUNCTION(ncclAllReduce);
  MIXGRAD_NCCL_FUNCTION(ncclReduce);
  MIXGRAD_NCCL_FUNCTION(ncclBroadcast);
  MIXGRAD_NCCL_FUNCTION(ncclGroupStart);
  MIXGRAD_NCCL_FUNCTION(ncclGroupEnd);
#undef MIXGRAD_NCCL_FUNCTION

  std::string version() const {
    int number = 0;
    ncclGetVersion(&number);  // 22803 is 2.28.3
    return std::to_string(number / 10000) + "." + std::to_string(number / 100 % 100) + "." +
           std::to_string(number % 100);
  }
  void check(ncclResult_t result, const char* call) const {
    if (result == ncclSuccess || result == ncclInProgress) return;
    raise<IoError>("NCCL ", version(), ": ", call, " failed: ", ncclGetErrorString(result),
                   "; NCCL_DEBUG=INFO in the environment says more");
  }
};

}  // namespace mixgrad::cuda
