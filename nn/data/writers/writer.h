// The kinds of files that generated music and sound are written to: the inverse of nn/data/readers.
//
//   const Writer* writer = find_writer("song.mid");
//   writer->require_fit("song.mid", *tokenizer);
//   write_file_atomic("song.mid", writer->bytes({.ids = ids}, "song.mid"));
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "nn/data/readers/reader.h"
#include "nn/tokenizers/tokenizer.h"

namespace mixgrad {

struct WriterInput {
  std::string_view text = {};              // of models of text
  std::span<const std::int32_t> ids = {};  // of models of ids
  std::int64_t rate = 8000;                // of sound: samples a second
};

struct Writer {
  std::string name = {};                     // as in writers.def, that of the reader
  std::string what = {};                     // for people: "MIDI music"
  std::vector<std::string> extensions = {};  // ".mid", in lower case
  Reader::Yields takes = Reader::Yields::ids;
  // Of ids: the sizes that the vocabulary of a model may have.
  std::int64_t smallest_vocabulary = 0, largest_vocabulary = 0;
  bool has_rate = false;
  // What stands before a beginning, where nothing is given: ids, or a text.
  std::vector<std::int32_t> start_ids = {};
  std::string start_text = {};
  // The content of the file. ValueError, which begins with `file`, when what was generated has nothing to write.
  std::string (*bytes)(const WriterInput& input, const std::string& file) = nullptr;

  // ValueError that names the file when a model with this tokenizer generates something else.
  void require_fit(const std::string& file, const Tokenizer& tokenizer) const;
};

const std::vector<Writer>& writers();  // in the order of writers.def
// The writer that the file's extension names (upper case is the same), or nullptr.
const Writer* find_writer(std::string_view file_name);
// ".mid, .midi, .abc, ...": for errors and help.
std::string writer_extensions();

}  // namespace mixgrad
