// The kinds of files that data is read from: how a file of a kind is known, and how its bytes become documents.
//
//   const Reader& reader = reader_of("song.mid", file.text());
//   reader.read(file.text(), "song.mid", {}, sink);          // sink.ids(...), sink.end_document()
//
// A reader takes the whole content of a file, usually mapped, and hands its documents on piece by piece, so that memory
// stays flat whatever the size of the file. Every number in a file is checked before it is used.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace mixgrad {

// Receives documents, each in one piece or several. A reader calls either text() or ids(), as its Reader says.
class DocumentSink {
 public:
  virtual ~DocumentSink() = default;
  virtual void text(std::string_view piece) = 0;
  virtual void ids(std::span<const std::int32_t> piece) = 0;  // none below 0
  virtual void end_document() = 0;
  // Samples a second, of sound; called before the first piece.
  virtual void rate(std::int64_t /*samples_per_second*/) {}
};

// What has to be chosen by whoever gives the file.
struct ReaderOptions {
  std::string field = {};                    // of JSON objects: the name of the text
  std::string column = {};                   // of tables: the name of the text
  std::vector<std::int64_t> codebooks = {};  // of arrays of codes: which of them, counted from 0; empty = all
  std::int64_t codebook_size = 1024;         // of arrays of codes: symbols of one codebook
};

struct Reader {
  enum class Yields : std::uint8_t { text, ids };

  std::string name = {};                     // as in readers.def
  std::string what = {};                     // for people: "WAV sound"
  std::vector<std::string> extensions = {};  // ".wav", in lower case
  Yields yields = Yields::text;
  std::int64_t vocabulary = 0;  // ids are below it, of every file of this kind; 0 = that depends on the file
  // Whether a file of unknown extension that begins like this is of this kind; nullptr: a kind that only its extension
  // tells.
  bool (*recognises)(std::string_view content) = nullptr;
  // FormatError: the content is not of this kind, damaged or truncated. ValueError: an option is missing, which the
  // error names with what can be chosen. Both begin with `source`.
  void (*read)(std::string_view content, const std::string& source, const ReaderOptions& options,
               DocumentSink& sink) = nullptr;
};

const std::vector<Reader>& readers();                 // in the order of readers.def
const Reader& reader_by_name(std::string_view name);  // one that exists

// The reader that the file's extension names (upper case is the same), else the one that recognises its content, else
// nullptr: the file is binary, of no kind that is known.
const Reader* find_reader(std::string_view file_name, std::string_view content);

// Whether the content can be a text: UTF-8 without control characters that no text has, in its first 64 KiB.
bool looks_like_text(std::string_view content);

}  // namespace mixgrad
