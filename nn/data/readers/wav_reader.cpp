// WAV (RIFF/WAVE: "Multimedia Programming Interface and Data Specifications 1.0"): 8-bit and 16-bit PCM and G.711
// mu-law, one channel or two, which are averaged. A sample s of 16 bits becomes one of 256 tokens:
//   f = s / 32768,  y = sign(f) ln(1 + 255 |f|) / ln 256,  token = floor((y + 1) / 2 * 255 + 0.5)
// so that silence is 128. A file is a document.
#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <vector>

#include "core/error.h"
#include "nn/data/readers/built_in_readers.h"
#include "nn/data/readers/byte_reader.h"
#include "nn/data/readers/mu_law.h"

namespace mixgrad {
namespace {

constexpr std::uint16_t kPcm = 1, kG711MuLaw = 7, kExtensible = 0xfffe;
constexpr std::size_t kSamplesAtOnce = 16384;

struct WavFormat {
  std::uint16_t coding = 0, channels = 0, bits = 0;
  std::uint32_t rate = 0;
};

WavFormat read_format(std::string_view chunk, const std::string& source, std::size_t first) {
  ByteReader bytes(chunk, source, first);
  WavFormat format;
  format.coding = bytes.little<std::uint16_t>("the coding of the samples");
  format.channels = bytes.little<std::uint16_t>("the number of channels");
  format.rate = bytes.little<std::uint32_t>("the rate");
  bytes.take(4, "the bytes a second");
  const auto block = bytes.little<std::uint16_t>("the bytes of a frame");
  format.bits = bytes.little<std::uint16_t>("the bits of a sample");
  if (format.coding == kExtensible) {
    bytes.take(8, "the extended format");
    format.coding = bytes.little<std::uint16_t>("the coding of the extended format");
  }
  const bool pcm = format.coding == kPcm && (format.bits == 8 || format.bits == 16);
  if (!pcm && !(format.coding == kG711MuLaw && format.bits == 8)) {
    raise<FormatError>(source, ": the samples must be 8-bit or 16-bit PCM or 8-bit mu-law; the file has coding ",
                       format.coding, " with ", format.bits, " bits; convert it to 16-bit PCM");
  }
  if (format.channels != 1 && format.channels != 2) {
    raise<FormatError>(source, ": one or two channels are required; the file has ", format.channels,
                       "; mix it down to one");
  }
  if (format.rate == 0 || block != format.channels * format.bits / 8) {
    raise<FormatError>(source, ": a rate above 0 and frames of ", format.channels * format.bits / 8,
                       " bytes are required; the file has ", format.rate, " and ", block,
                       "; the file is damaged: fetch or write it again");
  }
  return format;
}

// The token of the sum of `channels` samples of 16 bits, from a table: the logarithm is slow.
class MuLawTable {
 public:
  explicit MuLawTable(int channels) : offset_(32768 * channels), tokens_(65536U * static_cast<unsigned>(channels)) {
    for (std::size_t i = 0; i < tokens_.size(); ++i) {
      tokens_[i] = mu_law_token((static_cast<double>(i) - offset_) / channels);
    }
  }
  std::int32_t of(int sum) const { return tokens_[static_cast<std::size_t>(sum + offset_)]; }

 private:
  int offset_;
  std::vector<std::int32_t> tokens_;
};

int linear_sample(const WavFormat& format, std::string_view bytes) {
  if (format.bits == 16) return ByteReader::number<std::int16_t>(bytes, false);
  const auto byte = static_cast<unsigned char>(bytes[0]);
  return format.coding == kG711MuLaw ? g711_sample(byte) : (byte - 128) * 256;
}

void send_samples(const WavFormat& format, std::string_view data, DocumentSink& sink) {
  const MuLawTable table(format.channels);
  const std::size_t width = format.bits / 8U;
  std::array<std::int32_t, kSamplesAtOnce> tokens;
  for (std::size_t at = 0; at < data.size();) {
    std::size_t count = 0;
    for (; count < tokens.size() && at < data.size(); ++count) {
      int sum = 0;
      for (int channel = 0; channel < format.channels; ++channel, at += width) {
        sum += linear_sample(format, data.substr(at, width));
      }
      tokens[count] = table.of(sum);
    }
    sink.ids(std::span(tokens).first(count));
  }
}

bool is_wav(std::string_view content) {
  return content.size() >= 12 && content.starts_with("RIFF") && content.substr(8, 4) == "WAVE";
}

void read_wav(std::string_view content, const std::string& source, const ReaderOptions&, DocumentSink& sink) {
  if (!is_wav(content)) {
    raise<FormatError>(source, ": a WAV file begins with RIFF, a length and WAVE; this one does not; give a WAV file");
  }
  const auto length = ByteReader::number<std::uint32_t>(content.substr(4, 4), false);
  if (length < 4 || length > content.size() - 8) {
    raise<FormatError>(source, ": its length must be at least 4 and fit the file; it says ", length, " bytes, ",
                       content.size() - 8, " follow; the file is truncated or damaged: fetch or write it again");
  }
  ByteReader bytes(content.substr(12, length - 4), source, 12);
  WavFormat format;
  std::string_view data;
  bool has_data = false;
  while (bytes.left() > 0) {
    const std::string_view name = bytes.take(4, "the name of a chunk");
    const auto size = bytes.little<std::uint32_t>("the length of a chunk");
    const std::size_t first = bytes.position();
    const std::string_view chunk = bytes.take(size, "a chunk");
    if (size % 2 != 0 && bytes.left() > 0) bytes.take(1, "the padding of a chunk");
    if (name == "fmt " && format.channels == 0) format = read_format(chunk, source, first);
    if (name != "data") continue;
    if (has_data) raise<FormatError>(source, ": one data chunk is required; there are two; write the file again");
    has_data = true;
    data = chunk;
  }
  if (format.channels == 0 || data.empty()) {
    raise<FormatError>(source, ": a format and samples are required; the file has no ",
                       format.channels == 0 ? "format (chunk \"fmt \")" : "samples (chunk \"data\")",
                       "; it is truncated or damaged: fetch or write it again");
  }
  const std::size_t frame = static_cast<std::size_t>(format.channels) * format.bits / 8;
  if (data.size() % frame != 0) {
    raise<FormatError>(source, ": the samples must be whole frames of ", frame, " bytes; ", data.size() % frame,
                       " bytes are left over; the file is truncated or damaged: fetch or write it again");
  }
  sink.rate(format.rate);
  send_samples(format, data, sink);
  sink.end_document();
}

}  // namespace

Reader built_in::wav_reader() {
  return {.name = "wav",
          .what = "WAV sound",
          .extensions = {".wav", ".wave"},
          .yields = Reader::Yields::ids,
          .vocabulary = kMuLawTokens,
          .recognises = is_wav,
          .read = read_wav};
}

}  // namespace mixgrad
