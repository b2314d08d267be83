// Collects what a reader of data hands on, for tests.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "nn/data/readers/reader.h"

namespace mixgrad::test {

struct CollectedDocuments final : DocumentSink {
  void text(std::string_view piece) override { now += piece; }
  void ids(std::span<const std::int32_t> piece) override { ids_now.insert(ids_now.end(), piece.begin(), piece.end()); }
  void end_document() override {
    texts.push_back(now);
    id_lists.push_back(ids_now);
    now.clear();
    ids_now.clear();
  }
  void rate(std::int64_t samples_per_second) override { sound_rate = samples_per_second; }

  std::vector<std::string> texts;
  std::vector<std::vector<std::int32_t>> id_lists;
  std::int64_t sound_rate = 0;
  std::string now;
  std::vector<std::int32_t> ids_now;
};

inline CollectedDocuments read_with(const std::string& reader, std::string_view content,
                                    const ReaderOptions& options = {}) {
  CollectedDocuments found;
  reader_by_name(reader).read(content, "file", options, found);
  return found;
}

// Little-endian bytes of numbers.
template <class T>
std::string little_bytes(const std::vector<T>& values) {
  std::string bytes;
  for (const T value : values) {
    for (std::size_t i = 0; i < sizeof(T); ++i) {
      bytes += static_cast<char>(static_cast<std::uint64_t>(value) >> (8 * i) & 0xff);
    }
  }
  return bytes;
}

}  // namespace mixgrad::test
