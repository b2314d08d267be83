#include "apps/data/input_bytes.h"

#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <system_error>

#include "core/error.h"

namespace mixgrad::app {

InputBytes::InputBytes(const std::string& path, const std::string& what) : name_(path == "-" ? "stdin" : path) {
  if (path.empty())
    raise<ValueError>(what, ": FILE must name a file, or be - for stdin; got an empty text; correct it");
  std::error_code error;
  const auto type = std::filesystem::status(path, error).type();
  const bool pipe = type == std::filesystem::file_type::fifo || type == std::filesystem::file_type::character;
  if (path != "-" && !pipe) {
    file_ = MappedFile::open(path);
    return;
  }
  using Close = int (*)(std::FILE*);
  const std::unique_ptr<std::FILE, Close> opened(path == "-" ? nullptr : std::fopen(path.c_str(), "rb"), std::fclose);
  std::FILE* const stream = path == "-" ? stdin : opened.get();
  if (stream != nullptr) {
    char chunk[65536];
    for (std::size_t got = 0; (got = std::fread(chunk, 1, sizeof chunk, stream)) > 0;) text_.append(chunk, got);
  }
  if (stream == nullptr || std::ferror(stream) != 0) {
    raise<IoError>(what, ": ", name_, " must be readable; ", std::generic_category().message(errno),
                   "; redirect a text to it or give a file");
  }
}

}  // namespace mixgrad::app
