#include "nn/files/file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <system_error>
#include <utility>

#include "core/error.h"
#include "core/text/byte_order_mark.h"
#include "nn/files/mapping_guard.h"

namespace mixgrad {
std::string unfinished_stem(const std::filesystem::path& path) { return "." + path.filename().string() + ".tmp-"; }

namespace {

constexpr std::size_t kBufferBytes = std::size_t{1} << 18U;

// A file descriptor that closes itself.
class Descriptor {
 public:
  explicit Descriptor(int value) : value_(value) {}
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  ~Descriptor() {
    if (value_ >= 0) ::close(value_);
  }
  int get() const { return value_; }
  int release() { return std::exchange(value_, -1); }
  int close() { return ::close(std::exchange(value_, -1)); }

 private:
  int value_;
};

// strerror is not for threads; the standard's table is.
std::string reason(int error) { return std::generic_category().message(error); }

[[noreturn]] void fail_read(const std::string& path, const std::string& why) {
  raise<IoError>(path.empty() ? "\"\"" : path, ": a readable file is required; ", why,
                 "; check the path and its permissions");
}

[[noreturn]] void fail_write(const std::string& path, const std::string& step, int error) {
  raise<IoError>(path, ": the file must be writable; ", step, " failed: ", reason(error),
                 "; check the path, its permissions and the free space");
}

// With Pipes::refuse, opening does not wait for the writer of a named pipe (O_NONBLOCK), and anything but a regular
// file is an error.
int open_for_reading(const std::string& path, Pipes pipes) {
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | (pipes == Pipes::refuse ? O_NONBLOCK : 0));
  if (descriptor < 0) fail_read(path, "open failed: " + reason(errno));
  return descriptor;
}

// The size of a regular file. With Pipes::wait, 0 for anything else that can be read.
std::size_t checked_size(int descriptor, const std::string& path, Pipes pipes) {
  struct stat status {};
  if (::fstat(descriptor, &status) != 0) fail_read(path, "stat failed: " + reason(errno));
  if (S_ISDIR(status.st_mode)) fail_read(path, "this is a directory");
  if (S_ISREG(status.st_mode)) return static_cast<std::size_t>(status.st_size);
  if (pipes == Pipes::refuse) fail_read(path, "this is not a regular file");
  return 0;
}

// Removes the scratch file unless it has been renamed.
class Scratch {
 public:
  explicit Scratch(const std::filesystem::path& target) : target_(target.string()) {
    const std::string stem = unfinished_stem(target) + std::to_string(::getpid());
    // A process that died here with our number (in a container it is always the same), or another thread, may hold
    // the name: then the next one.
    for (int attempt = 0; attempt < 100 && descriptor_ < 0; ++attempt) {
      const std::string name = attempt == 0 ? stem : stem + "-" + std::to_string(attempt);
      name_ = (target.parent_path() / name).string();
      descriptor_ = ::open(name_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0666);
      if (descriptor_ < 0 && errno != EEXIST) break;
    }
    if (descriptor_ < 0) fail_write(target_, "creating " + name_, errno);
  }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  ~Scratch() {
    if (descriptor_ >= 0) ::close(descriptor_);
    if (!renamed_) ::unlink(name_.c_str());
  }

  int descriptor() const { return descriptor_; }

  void finish() {
    if (::fsync(descriptor_) != 0) fail_write(target_, "fsync", errno);
    if (::close(std::exchange(descriptor_, -1)) != 0) fail_write(target_, "close", errno);
    if (std::rename(name_.c_str(), target_.c_str()) != 0) fail_write(target_, "renaming the finished file", errno);
    renamed_ = true;
  }

 private:
  std::string target_;
  std::string name_;
  int descriptor_ = -1;
  bool renamed_ = false;
};

}  // namespace

MappedFile MappedFile::open(const std::filesystem::path& path) {
  MappedFile file;
  file.path_ = path.string();
  Descriptor descriptor(open_for_reading(file.path_, Pipes::refuse));
  const std::size_t size = checked_size(descriptor.get(), file.path_, Pipes::refuse);
  if (size == 0) return file;
  void* data = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, descriptor.get(), 0);
  if (data == MAP_FAILED) fail_read(file.path_, "mmap failed: " + reason(errno));
  file.data_ = data;
  file.size_ = size;
  file.descriptor_ = descriptor.release();
  note_mapping(data, size);
  return file;
}

void MappedFile::forget(std::size_t bytes) const {
  const auto page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
  const std::size_t whole = std::min(bytes, size_) / page * page;
  if (descriptor_ >= 0 && whole > 0) ::madvise(data_, whole, MADV_DONTNEED);
}

void MappedFile::require_whole() const {
  if (descriptor_ < 0) return;
  struct stat status {};
  if (::fstat(descriptor_, &status) != 0) fail_read(path_, "stat failed: " + reason(errno));
  if (static_cast<std::size_t>(status.st_size) >= size_) return;
  raise<IoError>(path_, ": the file must stay as it is while it is read; it was ", size_,
                 " bytes long and was truncated to ", status.st_size,
                 "; restore it, or give a copy that nobody writes to");
}

MappedFile MappedFile::of(std::string_view memory, const std::string& name) {
  MappedFile file;
  file.path_ = name;
  file.data_ = const_cast<char*>(memory.data());  // only ever read
  file.size_ = memory.size();
  return file;
}

std::int64_t MappedFile::last_write() const {
  struct stat status {};
  if (descriptor_ < 0 || ::fstat(descriptor_, &status) != 0) return 0;
  return std::int64_t{1'000'000'000} * status.st_mtim.tv_sec + status.st_mtim.tv_nsec;
}

void MappedFile::unmap() {
  if (descriptor_ < 0) return;
  forget_mapping(data_);
  ::munmap(data_, size_);
  ::close(std::exchange(descriptor_, -1));
}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  if (this == &other) return *this;
  unmap();
  data_ = std::exchange(other.data_, nullptr);
  size_ = std::exchange(other.size_, 0);
  descriptor_ = std::exchange(other.descriptor_, -1);
  path_ = std::move(other.path_);
  return *this;
}

MappedFile::~MappedFile() { unmap(); }

std::string read_text(const std::filesystem::path& path, std::size_t max_bytes, Pipes pipes) {
  const std::string name = path.string();
  const Descriptor descriptor(open_for_reading(name, pipes));
  checked_size(descriptor.get(), name, pipes);
  std::string text;
  std::vector<char> chunk(std::size_t{1} << 16U);
  for (;;) {
    const ssize_t got = ::read(descriptor.get(), chunk.data(), chunk.size());
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) fail_read(name, "read failed: " + reason(errno));
    if (got == 0) {
      text.erase(0, text.size() - without_byte_order_mark(text).size());
      return text;
    }
    text.append(chunk.data(), static_cast<std::size_t>(got));
    if (text.size() > max_bytes) {
      raise<FormatError>(name, ": at most ", max_bytes, " bytes are allowed here; the file is larger; ",
                         "check that it is the right file");
    }
  }
}

FileWriter::FileWriter(int descriptor, std::string path) : descriptor_(descriptor), path_(std::move(path)) {
  buffer_.reserve(kBufferBytes);
}

void FileWriter::write(const void* data, std::size_t bytes) {
  const auto* from = static_cast<const char*>(data);
  if (buffer_.size() + bytes > kBufferBytes) flush();
  if (bytes >= kBufferBytes) {
    write_through(from, bytes);
  } else {
    buffer_.insert(buffer_.end(), from, from + bytes);
  }
}

void FileWriter::flush() {
  write_through(buffer_.data(), buffer_.size());
  buffer_.clear();
}

void FileWriter::write_through(const char* data, std::size_t bytes) const {
  while (bytes > 0) {
    const ssize_t done = ::write(descriptor_, data, bytes);
    if (done < 0 && errno == EINTR) continue;
    if (done < 0) fail_write(path_, "write", errno);
    data += done;
    bytes -= static_cast<std::size_t>(done);
  }
}

void write_file_atomic(const std::filesystem::path& path, const std::function<void(FileWriter&)>& fill) {
  const std::string last = path.filename().string();
  if (last.empty() || last == "." || last == "..") {
    raise<ValueError>("write: the path of a file is required; got \"", path.string(), "\"; add a file name");
  }
  Scratch scratch(path);
  FileWriter writer(scratch.descriptor(), path.string());
  fill(writer);
  writer.flush();
  scratch.finish();
  sync_folder(path.parent_path());
}

void write_file_atomic(const std::filesystem::path& path, std::string_view content) {
  write_file_atomic(path, [&](FileWriter& writer) { writer.write(content); });
}

void write_file_once(const std::filesystem::path& path, const std::function<void(FileWriter&)>& fill) {
  const std::string name = path.string();
  Descriptor file(::open(name.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0666));
  if (file.get() < 0) fail_write(name, "creating it", errno);
  FileWriter writer(file.get(), name);
  fill(writer);
  writer.flush();
  if (::fsync(file.get()) != 0) fail_write(name, "fsync", errno);
  if (file.close() != 0) fail_write(name, "close", errno);
}

void write_file_once(const std::filesystem::path& path, std::string_view content) {
  write_file_once(path, [&](FileWriter& writer) { writer.write(content); });
}

void make_folder(const std::filesystem::path& path) {
  std::error_code error;
  std::filesystem::create_directories(path, error);
  if (!error && !std::filesystem::is_directory(path, error)) error = std::make_error_code(std::errc::not_a_directory);
  if (error) {
    raise<IoError>(path.string(), ": a folder is required here; creating it failed: ", error.message(),
                   "; choose another path or remove what stands in its way");
  }
}

void sync_folder(const std::filesystem::path& path) {
  const std::string name = path.empty() ? "." : path.string();
  Descriptor folder(::open(name.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (folder.get() < 0) fail_write(name, "opening the folder", errno);
  // Some file systems cannot sync a folder and say EINVAL: nothing more can be done there.
  if (::fsync(folder.get()) != 0 && errno != EINVAL) fail_write(name, "fsync of the folder", errno);
  if (folder.close() != 0) fail_write(name, "closing the folder", errno);
}

}  // namespace mixgrad
