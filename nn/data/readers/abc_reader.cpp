// ABC notation (abcnotation.com, standard 2.1): text in which every tune begins with a line "X:". Each tune is a
// document, with the empty lines behind it; what stands before the first tune belongs to it. The documents one after
// another are the file, byte for byte.
#include <algorithm>

#include "core/error.h"
#include "core/text/byte_order_mark.h"
#include "core/text/utf8.h"
#include "nn/data/readers/built_in_readers.h"

namespace mixgrad {
namespace {

constexpr std::string_view kTune = "X:";

// Where the next line that begins a tune begins, behind `from`.
std::size_t next_tune(std::string_view content, std::size_t from) {
  for (std::size_t at = content.find('\n', from); at != std::string_view::npos; at = content.find('\n', at + 1)) {
    if (content.substr(at + 1).starts_with(kTune)) return at + 1;
  }
  return std::string_view::npos;
}

void read_abc(std::string_view content, const std::string& source, const ReaderOptions&, DocumentSink& sink) {
  content = without_byte_order_mark(content);
  std::size_t tune = content.starts_with(kTune) ? 0 : next_tune(content, 0);
  if (tune == std::string_view::npos) {
    raise<FormatError>(source, ": ABC notation must have a line that begins with \"X:\" for each tune; there is none; ",
                       "give a file of tunes, or name a text .txt");
  }
  for (std::size_t begin = 0; begin < content.size();) {
    const std::size_t end = std::min(next_tune(content, tune), content.size());
    sink.text(content.substr(begin, end - begin));
    sink.end_document();
    begin = tune = end;
  }
}

}  // namespace

Reader built_in::abc_reader() {
  return {
      .name = "abc", .what = "tunes in ABC notation", .extensions = {".abc"}, .recognises = nullptr, .read = read_abc};
}

}  // namespace mixgrad
