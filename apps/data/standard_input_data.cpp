#include "apps/data/standard_input_data.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "core/error.h"
#include "core/system/interrupt.h"
#include "nn/files/file.h"

namespace mixgrad::app {
namespace {

namespace fs = std::filesystem;

constexpr const char* kCopyName = "data-from-stdin";

void copy_standard_input(const fs::path& path) {
  write_file_atomic(path, [](FileWriter& out) {
    std::array<char, 65536> piece;
    for (;;) {
      check_interrupt();
      const ssize_t count = ::read(STDIN_FILENO, piece.data(), piece.size());
      if (count == 0) return;
      if (count < 0 && errno == EINTR) continue;
      if (count < 0) raise<IoError>("the source -: stdin cannot be read: ", std::strerror(errno));
      out.write(piece.data(), static_cast<std::size_t>(count));
    }
  });
}

std::string copy_extension(const SourceOptions& options) {
  if (!options.field.empty()) return ".jsonl";
  return options.column.empty() ? "" : ".csv";
}

fs::path temporary_folder(const std::vector<std::string>& sources) {
  if (!names_standard_input(sources)) return {};
  std::string pattern = (fs::temp_directory_path() / "mixgrad-XXXXXX").string();
  if (::mkdtemp(pattern.data()) == nullptr) {
    raise<IoError>(pattern, ": a folder for the data of stdin cannot be made: ", std::strerror(errno));
  }
  return pattern;
}

}  // namespace

bool names_standard_input(const std::vector<std::string>& sources) {
  return std::find(sources.begin(), sources.end(), "-") != sources.end();
}

void refuse_standard_input(const std::string& verb, const std::vector<std::string>& sources, int processes) {
  if (processes == 1 || !names_standard_input(sources)) return;
  raise<ValueError>(verb, ": --data - is the standard input, which one process alone has; got ", processes,
                    " processes; put the text into a file that each of them can read");
}

KeptInput::KeptInput(std::vector<std::string>& sources, const SourceOptions& options, fs::path folder)
    : folder_(std::move(folder)) {
  if (names_standard_input(options.valid)) {
    raise<ValueError>(
        "--valid must name files or folders; got - (stdin), from which only the data themselves can come");
  }
  if (!names_standard_input(sources)) return;
  if (std::count(sources.begin(), sources.end(), "-") > 1) {
    raise<ValueError>("the source - (stdin) must be given once; it was given several times; leave the others out");
  }
  make_folder(folder_);
  copy_ = folder_ / (kCopyName + copy_extension(options));
  copy_standard_input(copy_);
  std::replace(sources.begin(), sources.end(), std::string("-"), fs::absolute(copy_).string());
}

KeptInput::~KeptInput() {
  if (copy_.empty()) return;
  std::error_code ignored;
  fs::remove(copy_, ignored);
  fs::remove(folder_, ignored);  // when nothing else is in it
}

TemporaryInput::TemporaryInput(std::vector<std::string>& sources, const SourceOptions& options)
    : kept_(sources, options, temporary_folder(sources)) {}

}  // namespace mixgrad::app
