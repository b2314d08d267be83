#include "nn/data/sources.h"

#include <glob.h>

#include <algorithm>
#include <utility>

#include "core/error.h"
#include "core/text/plural.h"
#include "core/text/suggest.h"
#include "nn/files/file.h"

namespace mixgrad {
namespace {

namespace fs = std::filesystem;

bool is_hidden(const fs::path& path) { return path.filename().native().starts_with('.'); }

// Follows links to files, not to folders, so that no folder is read twice or without end.
void list_folder(const fs::path& folder, std::vector<fs::path>& files, SourceList& list) {
  std::error_code error;
  fs::directory_iterator entries(folder, error);
  if (error) raise<IoError>(folder.string(), ": the folder cannot be read: ", error.message());
  for (const fs::directory_entry& entry : entries) {
    if (is_hidden(entry.path())) {
      ++list.hidden;
    } else if (entry.is_directory(error)) {
      if (entry.is_symlink(error)) {
        ++list.links;
      } else {
        list_folder(entry.path(), files, list);
      }
    } else if (entry.is_regular_file(error)) {
      files.push_back(entry.path());
    } else {
      ++list.special;
    }
  }
}

std::vector<fs::path> glob_matches(const std::string& pattern) {
  glob_t found{};
  const int code = ::glob(pattern.c_str(), GLOB_NOSORT | GLOB_NOESCAPE, nullptr, &found);
  std::vector<fs::path> paths(found.gl_pathv, found.gl_pathv + (code == 0 ? found.gl_pathc : 0));
  ::globfree(&found);
  if (code != 0 && code != GLOB_NOMATCH) raise<IoError>(pattern, ": the folders of this pattern cannot be read");
  return paths;
}

void add_found(const std::vector<fs::path>& found, const std::string& source, SourceList& list) {
  std::vector<fs::path> paths = found;
  std::sort(paths.begin(), paths.end(), [](const auto& a, const auto& b) { return a.native() < b.native(); });
  bool any = false;
  for (const fs::path& path : paths) {
    const MappedFile file = MappedFile::open(path);
    const Reader* reader = find_reader(path.native(), file.text());
    list.binary += reader == nullptr ? 1 : 0;
    if (reader == nullptr) continue;
    list.files.push_back({path, reader});
    any = true;
  }
  if (any) return;
  raise<FormatError>(source, ": at least one file to read is required; there is none", list.left_out_text(),
                     "; give files, or a folder that has some");
}

void add_source(const std::string& source, SourceList& list) {
  if (source.empty()) {
    raise<ValueError>("a source of data must be a file, a folder or a pattern such as books/*.txt; got an empty text; ",
                      "check the quotes or the variable that it comes from");
  }
  std::error_code error;
  std::vector<fs::path> found;
  if (is_glob(source)) {
    const std::vector<fs::path> matches = glob_matches(source);
    if (matches.empty()) MappedFile::open(source);  // an IoError: there is no such file
    for (const fs::path& path : matches) {
      if (is_hidden(path)) {
        ++list.hidden;
      } else if (fs::is_directory(path, error)) {
        list_folder(path, found, list);
      } else {
        found.push_back(path);
      }
    }
    return add_found(found, source, list);
  }
  if (fs::is_directory(source, error)) {
    list_folder(source, found, list);
    return add_found(found, source, list);
  }
  // Where the extension tells, the file is opened once, by who reads it.
  constexpr std::string_view kBinary("\0", 1);
  const Reader* reader = find_reader(source, kBinary);
  if (reader == nullptr || !fs::exists(source, error)) reader = find_reader(source, MappedFile::open(source).text());
  // A binary file that is named itself is bytes, which the byte tokenizer reads.
  list.files.push_back({source, reader == nullptr ? &reader_by_name("text") : reader});
}

}  // namespace

std::string SourceList::left_out_text() const {
  std::vector<std::string> kinds;
  for (const auto& [count, kind] : {std::pair(hidden, " hidden"), {binary, " unknown binary"}, {special, " special"}}) {
    if (count > 0) kinds.push_back(std::to_string(count) + kind);
  }
  std::string text;
  for (std::size_t i = 0; i < kinds.size(); ++i) {
    text += (i == 0 ? "" : i + 1 == kinds.size() ? " and " : ", ") + kinds[i];
  }
  if (!kinds.empty()) text += hidden + binary + special == 1 ? " file" : " files";
  if (links > 0) {
    text += (text.empty() ? "" : " and ") + std::to_string(links) +
            (links == 1 ? " link to a folder" : " links to folders");
  }
  return text.empty() ? text : " (" + text + " left out)";
}

void SourceList::count_left_out_of(const SourceList& other) {
  hidden += other.hidden;
  binary += other.binary;
  links += other.links;
  special += other.special;
}

bool is_glob(const std::string& source) {
  std::error_code error;
  return source.find_first_of("*?[") != std::string::npos && !fs::exists(source, error);
}

SourceList find_sources(const std::vector<std::string>& sources) {
  SourceList list;
  for (const std::string& source : sources) add_source(source, list);
  for (const SourceFile& file : list.files) {
    if (file.reader->yields == list.files[0].reader->yields) continue;
    const SourceFile& first = list.files[0];
    raise<FormatError>(file.path.string(), ": all sources must hold text, or all of them token ids; this one is ",
                       file.reader->what, ", ", first.path.string(), " is ", first.reader->what,
                       "; give them in separate runs");
  }
  return list;
}

}  // namespace mixgrad
