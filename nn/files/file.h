// Files as this library needs them: mapped for reading, and written so that a reader sees the old or the new content,
// never a part. Errors: IoError, which names the path and gives the system's reason.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace mixgrad {

// A whole regular file as read-only memory, paged in on use. An empty file is allowed (size 0).
// Replacing the file by rename, as write_file_atomic does, is harmless: the mapping shows the old content. After
// somebody truncates it, reading what is gone raises SIGBUS, or, in a program that installed the guard
// (nn/files/mapping_guard.h), gives zeros; require_whole() then throws.
class MappedFile {
 public:
  MappedFile() = default;
  static MappedFile open(const std::filesystem::path& path);  // IoError: missing, a directory, not a regular file
  // Memory of the caller, which must outlive this, in place of a file.
  static MappedFile of(std::string_view memory, const std::string& name);

  MappedFile(MappedFile&& other) noexcept { *this = std::move(other); }
  MappedFile& operator=(MappedFile&& other) noexcept;
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;
  ~MappedFile();

  std::size_t size() const { return size_; }  // bytes
  std::span<const std::byte> bytes() const { return {static_cast<const std::byte*>(data_), size_}; }
  std::string_view text() const { return {static_cast<const char*>(data_), size_}; }
  const std::string& path() const { return path_; }

  // IoError when the file has become shorter than it was when it was opened: what was read since may be zeros. Readers
  // of a long-lived mapping call it after each piece. Costs one system call.
  void require_whole() const;

  // The pages of the first `bytes` bytes are not needed for now: they no longer count as memory of this process, and
  // are read from the file again when they are used.
  void forget(std::size_t bytes) const;

  // When somebody last wrote to the mapped file, wherever it lies by now: nanoseconds since 1970. 0 for the caller's
  // memory. Costs one system call.
  std::int64_t last_write() const;

 private:
  void unmap();

  void* data_ = nullptr;
  std::size_t size_ = 0;
  int descriptor_ = -1;  // open while the file is mapped; -1 for the caller's memory
  std::string path_;
};

// Whether a reader accepts what is not a regular file, such as a named pipe or a process substitution.
enum class Pipes : std::uint8_t {
  refuse,  // IoError
  wait     // read to the writer's end, which may take as long as the writer takes
};

// The content of a small text file, without the byte order mark that it may begin with. IoError as above; FormatError
// when there are more than max_bytes.
std::string read_text(const std::filesystem::path& path, std::size_t max_bytes = std::size_t{64} << 20U,
                      Pipes pipes = Pipes::refuse);

// Appends to the scratch file of write_file_atomic, through a buffer.
class FileWriter {
 public:
  void write(const void* data, std::size_t bytes);  // IoError
  void write(std::string_view text) { write(text.data(), text.size()); }

 private:
  friend void write_file_atomic(const std::filesystem::path& path, const std::function<void(FileWriter&)>& fill);
  friend void write_file_once(const std::filesystem::path& path, const std::function<void(FileWriter&)>& fill);
  FileWriter(int descriptor, std::string path);
  void flush();
  void write_through(const char* data, std::size_t bytes) const;

  int descriptor_;
  std::string path_;  // of the file that is to be, for errors
  std::vector<char> buffer_;
};

// Writes beside `path` under the scratch name `.NAME.tmp-PID`, fsyncs, renames over `path` and fsyncs the folder.
// After an error, also one thrown by `fill`, the scratch file is gone and what stood at `path` is untouched.
// ValueError when `path` names no file; IoError otherwise.
void write_file_atomic(const std::filesystem::path& path, const std::function<void(FileWriter&)>& fill);
void write_file_atomic(const std::filesystem::path& path, std::string_view content);
// The file beside `path` that is written first is named so, and a number follows.
std::string unfinished_stem(const std::filesystem::path& path);

// The same for a file in a folder that no other program sees yet: written where it is to be, fsynced, closed; one that
// exists already is an IoError. The folder is left to sync_folder.
void write_file_once(const std::filesystem::path& path, const std::function<void(FileWriter&)>& fill);
void write_file_once(const std::filesystem::path& path, std::string_view content);

// Either of the two.
using WriteFile = void (*)(const std::filesystem::path& path, const std::function<void(FileWriter&)>& fill);

// Creates the folder and those above it; one that exists already is fine. IoError when that cannot be.
void make_folder(const std::filesystem::path& path);

// Makes the names in a folder durable, e.g. after a rename within it. IoError.
void sync_folder(const std::filesystem::path& path);

}  // namespace mixgrad
