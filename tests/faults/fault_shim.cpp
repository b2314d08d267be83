// Loaded before libc (LD_PRELOAD): counts the calls that write to a folder, and lets the n-th of one kind fail.
//   MIXGRAD_FAULT_UNDER=/path    only calls on files and names under this folder count
//   MIXGRAD_FAULT=fsync:3:5      the third fsync fails with errno 5; fsync:0:5: every one
//   MIXGRAD_FAULT_COUNTS=/file   how many calls of each kind there were, written at the end
//   MIXGRAD_READ_COUNT=/file     how many files under the folder were opened without being created, written at the end
#include <dlfcn.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace {

enum Kind { kOpen, kWrite, kFsync, kClose, kRename, kSymlink, kMkdir, kKinds };
constexpr std::array kNames{"open", "write", "fsync", "close", "rename", "symlink", "mkdir"};
std::array<long, kKinds> g_counts{};
long g_opened_to_read = 0;

template <class F>
F next(const char* name) {
  return reinterpret_cast<F>(dlsym(RTLD_NEXT, name));
}

bool counts(const char* path) {
  const char* under = std::getenv("MIXGRAD_FAULT_UNDER");
  return under != nullptr && std::strncmp(path, under, std::strlen(under)) == 0;
}

// A file that is written, or a folder; what is only read cannot be lost.
bool counts(int descriptor) {
  char link[64];
  char path[4096];
  std::snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
  const ssize_t length = readlink(link, path, sizeof path - 1);
  if (length <= 0) return false;
  path[length] = '\0';
  struct stat status {};
  const bool folder = fstat(descriptor, &status) == 0 && S_ISDIR(status.st_mode);
  const bool written = (fcntl(descriptor, F_GETFL) & O_ACCMODE) != O_RDONLY;
  return (folder || written) && counts(path);
}

// Is this call the one to fail?
bool fails(Kind kind) {
  ++g_counts[kind];
  const char* fault = std::getenv("MIXGRAD_FAULT");
  char name[16];
  long at = 0;
  int error = 0;
  if (fault == nullptr || std::sscanf(fault, "%15[a-z]:%ld:%d", name, &at, &error) != 3) return false;
  if (std::strcmp(name, kNames[kind]) != 0 || (at != 0 && at != g_counts[kind])) return false;
  errno = error;
  return true;
}

struct AtEnd {
  ~AtEnd() {
    write_counts();
    const char* path = std::getenv("MIXGRAD_READ_COUNT");
    std::FILE* file = path == nullptr ? nullptr : std::fopen(path, "w");
    if (file == nullptr) return;
    std::fprintf(file, "%ld", g_opened_to_read);
    std::fclose(file);
  }
  static void write_counts() {
    const char* path = std::getenv("MIXGRAD_FAULT_COUNTS");
    std::FILE* file = path == nullptr ? nullptr : std::fopen(path, "w");
    if (file == nullptr) return;
    for (int kind = 0; kind < kKinds; ++kind) std::fprintf(file, "%s %ld\n", kNames[kind], g_counts[kind]);
    std::fclose(file);
  }
} g_at_end;

}  // namespace

extern "C" {

int open(const char* path, int flags, ...) {
  va_list more;
  va_start(more, flags);
  const mode_t mode = (flags & O_CREAT) != 0 ? va_arg(more, mode_t) : 0;
  va_end(more);
  if ((flags & O_CREAT) == 0 && counts(path)) ++g_opened_to_read;
  if ((flags & O_CREAT) != 0 && counts(path) && fails(kOpen)) return -1;
  return next<int (*)(const char*, int, ...)>("open")(path, flags, mode);
}
ssize_t write(int descriptor, const void* data, size_t bytes) {
  if (counts(descriptor) && fails(kWrite)) return -1;
  return next<ssize_t (*)(int, const void*, size_t)>("write")(descriptor, data, bytes);
}
int fsync(int descriptor) {
  if (counts(descriptor) && fails(kFsync)) return -1;
  return next<int (*)(int)>("fsync")(descriptor);
}
int close(int descriptor) {
  const bool failing = counts(descriptor) && fails(kClose);
  const int error = errno;
  const int result = next<int (*)(int)>("close")(descriptor);  // the descriptor is gone either way
  if (!failing) return result;
  errno = error;
  return -1;
}
int rename(const char* from, const char* to) {
  if (counts(to) && fails(kRename)) return -1;
  return next<int (*)(const char*, const char*)>("rename")(from, to);
}
int renameat2(int from_folder, const char* from, int to_folder, const char* to, unsigned flags) {
  if (counts(to) && fails(kRename)) return -1;
  return next<int (*)(int, const char*, int, const char*, unsigned)>("renameat2")(from_folder, from, to_folder, to,
                                                                                  flags);
}
int symlink(const char* target, const char* link) {
  if (counts(link) && fails(kSymlink)) return -1;
  return next<int (*)(const char*, const char*)>("symlink")(target, link);
}
int mkdir(const char* path, mode_t mode) {
  if (counts(path) && fails(kMkdir)) return -1;
  return next<int (*)(const char*, mode_t)>("mkdir")(path, mode);
}
}
