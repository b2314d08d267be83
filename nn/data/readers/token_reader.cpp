// Files that hold nothing but token ids: .u8, .u16 and .u32, little-endian, without a header.
#include "nn/data/readers/token_reader.h"

#include <array>
#include <cstdint>

#include "core/error.h"
#include "nn/data/readers/built_in_readers.h"
#include "nn/data/readers/byte_reader.h"

namespace mixgrad {
namespace {

constexpr std::size_t kTokensAtOnce = 16384;

template <class T>
void send_tokens(std::string_view bytes, const std::string& source, std::size_t first, DocumentSink& sink) {
  std::array<std::int32_t, kTokensAtOnce> ids;
  for (std::size_t done = 0; done < bytes.size();) {
    const std::size_t count = std::min(ids.size(), (bytes.size() - done) / sizeof(T));
    for (std::size_t i = 0; i < count; ++i, done += sizeof(T)) {
      const T id = ByteReader::number<T>(bytes.substr(done, sizeof(T)), false);
      if (static_cast<std::uint64_t>(id) > INT32_MAX) {
        raise<FormatError>(source, ": every token must be below 2^31; the one at byte ", first + done, " is ",
                           static_cast<std::uint64_t>(id), "; give a file of token ids of this width");
      }
      ids[i] = static_cast<std::int32_t>(id);
    }
    sink.ids(std::span(ids).first(count));
  }
}

template <std::size_t kWidth>
void read_tokens(std::string_view content, const std::string& source, const ReaderOptions&, DocumentSink& sink) {
  read_raw_tokens(content, kWidth, source, 0, sink);
}

}  // namespace

void read_raw_tokens(std::string_view bytes, std::size_t width, const std::string& source, std::size_t first,
                     DocumentSink& sink) {
  if (bytes.empty() || bytes.size() % width != 0) {
    raise<FormatError>(source, ": tokens of ", width,
                       bytes.empty() ? " bytes are required; there is none" : " bytes are required; ",
                       bytes.empty() ? std::string() : std::to_string(bytes.size() % width) + " bytes are left over",
                       "; the file is truncated, or its name gives another width (.u8, .u16, .u32)");
  }
  if (width == 1) send_tokens<std::uint8_t>(bytes, source, first, sink);
  if (width == 2) send_tokens<std::uint16_t>(bytes, source, first, sink);
  if (width == 4) send_tokens<std::uint32_t>(bytes, source, first, sink);
  sink.end_document();
}

Reader built_in::u8_reader() {
  return {.name = "u8",
          .what = "8-bit tokens",
          .extensions = {".u8"},
          .yields = Reader::Yields::ids,
          .recognises = nullptr,
          .read = read_tokens<1>};
}
Reader built_in::u16_reader() {
  return {.name = "u16",
          .what = "16-bit tokens",
          .extensions = {".u16"},
          .yields = Reader::Yields::ids,
          .recognises = nullptr,
          .read = read_tokens<2>};
}
Reader built_in::u32_reader() {
  return {.name = "u32",
          .what = "32-bit tokens",
          .extensions = {".u32"},
          .yields = Reader::Yields::ids,
          .recognises = nullptr,
          .read = read_tokens<4>};
}

}  // namespace mixgrad
