#include "core/system/free_memory.h"

#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>

namespace mixgrad {
namespace {

std::size_t available_to_all() {
  std::FILE* file = std::fopen("/proc/meminfo", "r");
  if (file == nullptr) return 0;
  unsigned long long kib = 0;
  char line[128];
  while (std::fgets(line, sizeof line, file) != nullptr && std::sscanf(line, "MemAvailable: %llu", &kib) != 1) {
  }
  std::fclose(file);
  return static_cast<std::size_t>(kib) * 1024;
}

std::size_t own_size() {
  std::FILE* file = std::fopen("/proc/self/statm", "r");
  if (file == nullptr) return 0;
  unsigned long long pages = 0;
  if (std::fscanf(file, "%llu", &pages) != 1) pages = 0;
  std::fclose(file);
  return static_cast<std::size_t>(pages) * static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
}

}  // namespace

std::size_t free_memory() {
  const std::size_t available = available_to_all();
  rlimit limit{};
  if (getrlimit(RLIMIT_AS, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY) return available;
  const auto most = static_cast<std::size_t>(limit.rlim_cur);
  return std::min(available, most - std::min(most, own_size()));
}

}  // namespace mixgrad
