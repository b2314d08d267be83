// What the fuzz targets of data readers share: a reader that hands ids and texts to a sink which checks its promises.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "nn/data/readers/reader.h"
#include "tests/fuzz/fuzz.h"

namespace mixgrad {

struct CheckingSink final : DocumentSink {
  explicit CheckingSink(const Reader& of) : reader(of) {}
  void text(std::string_view piece) override {
    MIXGRAD_ASSERT(reader.yields == Reader::Yields::text, "only readers of text hand texts on");
    text_bytes += piece.size();
  }
  void ids(std::span<const std::int32_t> piece) override {
    MIXGRAD_ASSERT(reader.yields == Reader::Yields::ids, "only readers of ids hand ids on");
    for (const std::int32_t id : piece) {
      MIXGRAD_ASSERT(id >= 0 && (reader.vocabulary == 0 || id < reader.vocabulary), "ids are below the vocabulary");
    }
    id_count += piece.size();
  }
  void end_document() override { ++documents; }

  const Reader& reader;
  std::size_t text_bytes = 0, id_count = 0, documents = 0;
};

// Reads the content; whatever is found must be no more than the content can hold.
inline CheckingSink fuzz_reader(const char* name, std::string_view content, const ReaderOptions& options = {}) {
  const Reader& reader = reader_by_name(name);
  CheckingSink sink(reader);
  reader.read(content, "fuzz", options, sink);
  MIXGRAD_ASSERT(sink.text_bytes <= content.size(), "no text is longer than its file");
  return sink;
}

}  // namespace mixgrad
