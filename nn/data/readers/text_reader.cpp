// Text: the whole file is one document, without the byte order mark that it may begin with. Whether the bytes are
// characters is for the tokenizer to say.
#include "core/text/byte_order_mark.h"
#include "nn/data/readers/built_in_readers.h"

namespace mixgrad {
namespace {

void read_plain_text(std::string_view content, const std::string&, const ReaderOptions&, DocumentSink& sink) {
  sink.text(without_byte_order_mark(content));
  sink.end_document();
}

}  // namespace

Reader built_in::text_reader() {
  return {.name = "text",
          .what = "text",
          .extensions = {".txt", ".text", ".md", ".xml", ".html"},
          .recognises = looks_like_text,
          .read = read_plain_text};
}

}  // namespace mixgrad
