#include "nn/data/readers/reader.h"

#include <algorithm>
#include <cctype>

#include "core/error.h"
#include "core/text/utf8.h"
#include "nn/data/readers/built_in_readers.h"

namespace mixgrad {
namespace {

constexpr std::size_t kHead = std::size_t{64} << 10U;  // bytes that tell a text from other content

std::string lower_extension(std::string_view file_name) {
  const std::size_t slash = file_name.rfind('/');
  const std::string_view name = slash == std::string_view::npos ? file_name : file_name.substr(slash + 1);
  const std::size_t dot = name.rfind('.');
  if (dot == std::string_view::npos || dot == 0) return {};
  std::string extension(name.substr(dot));
  for (char& c : extension) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return extension;
}

}  // namespace

const std::vector<Reader>& readers() {
  static const std::vector<Reader> all = [] {
    std::vector<Reader> list;
#define READER(kind)                         \
  list.push_back(built_in::kind##_reader()); \
  MIXGRAD_ASSERT(list.back().name == #kind, "a reader has the name that readers.def gives it");
#include "nn/data/readers/readers.def"
#undef READER
    return list;
  }();
  return all;
}

const Reader& reader_by_name(std::string_view name) {
  const auto found = std::find_if(readers().begin(), readers().end(), [&](const Reader& r) { return r.name == name; });
  MIXGRAD_ASSERT(found != readers().end(), "a reader of readers.def");
  return *found;
}

const Reader* find_reader(std::string_view file_name, std::string_view content) {
  const std::string extension = lower_extension(file_name);
  for (const Reader& reader : readers()) {
    const auto& known = reader.extensions;
    if (std::find(known.begin(), known.end(), extension) != known.end()) return &reader;
  }
  for (const Reader& reader : readers()) {
    if (reader.recognises != nullptr && reader.recognises(content)) return &reader;
  }
  return nullptr;
}

bool looks_like_text(std::string_view content) {
  const std::string_view head = content.substr(0, kHead);
  for (std::size_t at = 0; at < head.size();) {
    const std::int32_t code = next_code_point(head, at);
    if (code < 0) return content.size() > head.size() && head.size() - at <= incomplete_suffix(head);
    // Tab, line ends, form feed, the end-of-file mark of DOS and escape sequences occur in texts.
    const bool control =
        code < 0x20 && code != '\t' && code != '\n' && code != '\r' && code != '\f' && code != 0x1a && code != 0x1b;
    if (control) return false;
  }
  return true;
}

}  // namespace mixgrad
