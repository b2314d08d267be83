#include "nn/files/folder.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <iterator>
#include <system_error>
#include <utility>
#include <vector>

#include "core/error.h"
#include "nn/files/file.h"

namespace mixgrad {

namespace fs = std::filesystem;

namespace {

[[noreturn]] void fail(const std::string& path, const std::string& action, int error) {
  raise<IoError>(path, ": ", action, " failed: ", std::generic_category().message(error),
                 "; check the path, its permissions and the free space");
}

// What symlink() says on file systems without symbolic links: vfat EPERM, those of users ENOSYS, EOPNOTSUPP or ENOTTY,
// shares of other systems EACCES or EINVAL. Where one of these has another reason, the text file fails with it as well.
bool has_no_links(int error) {
  constexpr std::array kSaid = {EPERM, ENOSYS, EOPNOTSUPP, ENOTTY, EACCES, EINVAL};
  return std::find(kSaid.begin(), kSaid.end(), error) != kSaid.end();
}

}  // namespace

void rename_path(const fs::path& from, const fs::path& to) {
  if (std::rename(from.c_str(), to.c_str()) != 0)
    fail(from.string(), "renaming it to " + to.filename().string(), errno);
}

void exchange_paths(const fs::path& a, const fs::path& b) {
#if defined(RENAME_EXCHANGE)
  if (::renameat2(AT_FDCWD, a.c_str(), AT_FDCWD, b.c_str(), RENAME_EXCHANGE) == 0) return;
  if (errno != EINVAL && errno != ENOSYS) fail(b.string(), "exchanging it with " + a.filename().string(), errno);
#endif
  // A system or a file system without exchange: for a moment b's name is missing.
  const fs::path aside = a.string() + ".old";
  rename_path(b, aside);
  rename_path(a, b);
  rename_path(aside, a);
}

void replace_link(const fs::path& link, const std::string& target) {
  const fs::path scratch = link.parent_path() / ("." + link.filename().string() + ".tmp");
  remove_folder(scratch);  // what a crash left
  if (::symlink(target.c_str(), scratch.c_str()) != 0) {
    if (!has_no_links(errno)) fail(link.string(), "making the symlink to " + target, errno);
    write_file_once(scratch, target + "\n");
  }
  std::error_code error;
  if (fs::is_directory(fs::symlink_status(link, error))) {  // a rename would not replace a folder
    exchange_paths(scratch, link);
    remove_folder(scratch);
  } else {
    rename_path(scratch, link);
  }
}

void remove_folder(const fs::path& path) {
  std::error_code error;
  fs::remove_all(path, error);
  if (error) raise<IoError>(path.string(), ": removing the folder failed: ", error.message(), "; remove it by hand");
}

std::uintmax_t free_disk_bytes(const fs::path& path) {
  fs::path existing = fs::absolute(path);
  std::error_code error;
  while (!fs::exists(existing, error) && existing.has_parent_path() && existing != existing.parent_path()) {
    existing = existing.parent_path();
  }
  struct statvfs status {};
  if (::statvfs(existing.c_str(), &status) != 0) fail(existing.string(), "asking for the free space", errno);
  if (status.f_blocks == 0) return UINTMAX_MAX;  // it does not say, such as /proc
  return static_cast<std::uintmax_t>(status.f_bavail) * status.f_frsize;
}

namespace {

std::vector<fs::path> unfinished(const fs::path& folder, const std::string& name) {
  const std::string stem = unfinished_stem(folder / name);
  std::vector<fs::path> found;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(folder, error)) {
    if (entry.path().filename().string().rfind(stem, 0) == 0) found.push_back(entry.path());
  }
  return found;
}

}  // namespace

bool free_for_file(const fs::path& folder, const std::string& name) {
  std::error_code error;
  if (!fs::exists(folder, error)) return true;
  if (!fs::is_directory(folder, error)) return false;
  const auto entries = std::distance(fs::directory_iterator(folder, error), fs::directory_iterator());
  return !error && entries == static_cast<std::ptrdiff_t>(unfinished(folder, name).size());
}

void remove_unfinished(const fs::path& folder, const std::string& name) {
  std::error_code ignored;
  for (const fs::path& left : unfinished(folder, name)) fs::remove(left, ignored);
}

FolderLock::FolderLock(const fs::path& path, std::string_view holder)
    : descriptor_(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)) {
  if (descriptor_ < 0) fail(path.string(), "opening the folder", errno);
  if (::flock(descriptor_, LOCK_EX | LOCK_NB) == 0) return;
  const bool taken = errno == EWOULDBLOCK;
  ::close(std::exchange(descriptor_, -1));
  if (!taken) return;  // a file system without locks: nothing better to be had
  raise<IoError>(path.string(), ": only one process may write here at a time; ", holder,
                 " does; wait for it, or choose another folder");
}

FolderLock::~FolderLock() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

ScratchFolder::ScratchFolder(const fs::path& out, std::string_view holder)
    : out_(out.has_filename() ? out : out.parent_path()) {
  const fs::path parent = fs::absolute(out_).parent_path();
  make_folder(parent);
  path_ = parent / ("." + out_.filename().string() + ".preparing");
  make_folder(path_);
  lock_ = std::make_unique<FolderLock>(path_, holder);
  for (const auto& left : fs::directory_iterator(path_)) {  // of a process that was killed
    std::error_code ignored;
    fs::remove_all(left.path(), ignored);
  }
}

ScratchFolder::~ScratchFolder() {
  if (kept_) return;
  std::error_code ignored;
  fs::remove_all(path_, ignored);
}

void ScratchFolder::move_into_place() {
  sync_folder(path_);
  rename_path(path_, out_);
  kept_ = true;
  sync_folder(path_.parent_path());
}

LineFile::LineFile(const fs::path& path)
    : path_(path.string()), descriptor_(::open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666)) {
  if (descriptor_ < 0) fail(path_, "opening it for writing", errno);
}

LineFile::~LineFile() { ::close(descriptor_); }

void LineFile::append(std::string_view line) {
  while (!line.empty()) {
    const ssize_t done = ::write(descriptor_, line.data(), line.size());
    if (done < 0 && errno == EINTR) continue;
    if (done < 0) fail(path_, "write", errno);
    line.remove_prefix(static_cast<std::size_t>(done));
  }
}

}  // namespace mixgrad
