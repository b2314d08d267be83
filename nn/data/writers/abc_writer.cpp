// ABC notation: the text itself, from the first line on that begins a tune ("X:"), with a line end behind it.
#include "core/error.h"
#include "nn/data/writers/built_in_writers.h"

namespace mixgrad {
namespace {

std::string abc_bytes(const WriterInput& input, const std::string& file) {
  std::size_t begin = input.text.starts_with("X:") ? 0 : input.text.find("\nX:");
  if (begin == std::string_view::npos) {
    raise<ValueError>(file, ": a tune begins with a line \"X:\"; the text that was generated has none; ",
                      "begin with one, as in --prompt X:");
  }
  if (input.text[begin] == '\n') ++begin;
  std::string text(input.text.substr(begin));
  if (text.back() != '\n') text += '\n';
  return text;
}

}  // namespace

Writer built_in::abc_writer() {
  return {.name = "abc",
          .what = "ABC notation",
          .extensions = {".abc"},
          .takes = Reader::Yields::text,
          .start_text = "X:",
          .bytes = abc_bytes};
}

}  // namespace mixgrad
