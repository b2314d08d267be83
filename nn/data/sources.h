// Where data comes from: files, folders, globs and the standard input, as the files that they mean.
//
//   const SourceList list = find_sources({"books/", "more/*.jsonl"});
//   for (const SourceFile& file : list.files) ...          // file.path, file.reader
//
// The files of a folder (with the folders in it) and of a glob come in the order of their paths' bytes. Hidden ones,
// binary ones of unknown kind, links to folders within a folder, and what is no file are left out of them, and counted;
// a file that is named itself is always taken.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "nn/data/readers/reader.h"

namespace mixgrad {

struct SourceFile {
  std::filesystem::path path;
  const Reader* reader = nullptr;  // never nullptr
};

struct SourceList {
  std::vector<SourceFile> files;
  std::int64_t hidden = 0, binary = 0;  // left out, as the next two
  std::int64_t links = 0;               // to folders, which are not followed
  std::int64_t special = 0;             // links to nothing, pipes, sockets, devices

  std::int64_t left_out() const { return hidden + binary + links + special; }
  // " (3 hidden and 1 unknown binary files and 1 link to a folder left out)", or nothing.
  std::string left_out_text() const;
  // Adds what another list leaves out, such as that of the validation files.
  void count_left_out_of(const SourceList& other);
};

// ValueError: an empty text in place of a source. IoError: a source that does not exist or cannot be read, or a glob
// that fits nothing. FormatError: a folder or glob without a file to read, or files of which some hold text and others
// token ids.
SourceList find_sources(const std::vector<std::string>& sources);

// Whether a source is a pattern: it has one of *?[ and no file has that name.
bool is_glob(const std::string& source);

}  // namespace mixgrad
