#include "apps/output/version.h"

#include "build_info.h"
#include "core/build.h"
#include "core/device.h"
#include "nn/distributed/device_sums.h"
#include "ops/matmul/matmul.h"

namespace mixgrad::app {

std::string version_text() {
  std::string text = std::string("mixgrad ") + MIXGRAD_VERSION + " (commit " + MIXGRAD_COMMIT + "), instruction set ";
#if defined(__AVX512F__)
  text += "AVX-512";
#elif defined(__AVX2__) && defined(__FMA__)
  text += "AVX2 and FMA";
#elif defined(__ARM_NEON)
  text += "NEON";
#else
  text += "baseline";
#endif
  if (cpu::has_amx()) text += " and AMX";
  text += std::string(", devices cpu") + (build::has_cuda ? ", cuda" : "");
  if (!build::has_openmp) text += ", one thread (no OpenMP)";
  if (!build::has_text_libraries) text += ", no byte pairs (no PCRE2 and utf8proc)";
  text += build::has_mpi ? ", several processes by MPI or TCP" : ", several processes by TCP (no MPI)";
  if (const std::string nccl = nccl_version(); !nccl.empty()) text += ", several GPUs by NCCL " + nccl;
  text += MIXGRAD_LIBEDIT ? ", line editing by libedit" : ", no line editing";
  return text + (MIXGRAD_LIBYAML ? ", YAML by libyaml" : ", no YAML");
}

}  // namespace mixgrad::app
