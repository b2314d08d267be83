// What a run does in its folder beyond writing files: names that change in one step, a lock, free space.
// Errors: IoError with the path and the system's reason.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>

namespace mixgrad {

void rename_path(const std::filesystem::path& from, const std::filesystem::path& to);
// Both exist; each then stands where the other stood, at no time is either name missing.
void exchange_paths(const std::filesystem::path& a, const std::filesystem::path& b);
// `link` points to the folder `target` beside it afterwards; until then it is what it was: such a link, a text file or
// a folder (a copy that followed the link), which goes when the new one stands. Where the file system has no symbolic
// links, `link` becomes a text file with the name `target`.
void replace_link(const std::filesystem::path& link, const std::string& target);
void remove_folder(const std::filesystem::path& path);  // with all that is in it; none there is fine

// Bytes that may still be written where `path` is, or will be once created; the largest number when the system does not
// say.
std::uintmax_t free_disk_bytes(const std::filesystem::path& path);

// Is `folder` missing, empty, or does it hold nothing but what a process that was killed within
// write_file_atomic(folder / name) left? The first is asked before something is begun there, the second when it belongs
// to this process.
bool free_for_file(const std::filesystem::path& folder, const std::string& name);
void remove_unfinished(const std::filesystem::path& folder, const std::string& name);

// The folder belongs to this process until it ends or the object goes: a second lock is an IoError that names `holder`.
class FolderLock {
 public:
  explicit FolderLock(const std::filesystem::path& path, std::string_view holder);
  ~FolderLock();
  FolderLock(const FolderLock&) = delete;
  FolderLock& operator=(const FolderLock&) = delete;

 private:
  int descriptor_;
};

// A folder that is written aside, in `.NAME.preparing` beside the place where it is to be, and appears there whole. It
// is removed again unless it was moved. What a killed process left of it is removed at the next try.
//   ScratchFolder scratch(out, "another mixgrad import");
//   write_file_once(scratch.path() / "config.json", text);
//   scratch.move_into_place();
class ScratchFolder {
 public:
  // `holder`: who else may be writing the same folder, for the error.
  ScratchFolder(const std::filesystem::path& out, std::string_view holder);
  ~ScratchFolder();
  ScratchFolder(const ScratchFolder&) = delete;
  ScratchFolder& operator=(const ScratchFolder&) = delete;

  const std::filesystem::path& path() const { return path_; }
  void move_into_place();  // IoError when something other than an empty folder stands there

 private:
  std::filesystem::path out_, path_;
  std::unique_ptr<FolderLock> lock_;
  bool kept_ = false;
};

// A file that grows line by line. Each line is handed to the system whole.
class LineFile {
 public:
  explicit LineFile(const std::filesystem::path& path);  // appends to what is there
  ~LineFile();
  LineFile(const LineFile&) = delete;
  LineFile& operator=(const LineFile&) = delete;

  void append(std::string_view line);  // with its line end

 private:
  std::string path_;
  int descriptor_;
};

}  // namespace mixgrad
