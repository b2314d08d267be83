// WAV: 16-bit PCM with one channel, the samples that the tokens of mu_law.h stand for.
#include "core/error.h"
#include "nn/data/readers/mu_law.h"
#include "nn/data/writers/built_in_writers.h"
#include "nn/data/writers/byte_writer.h"

namespace mixgrad {
namespace {

constexpr std::int32_t kSilence = 128;

std::string wav_bytes(const WriterInput& input, const std::string& file) {
  if (input.ids.empty())
    raise<ValueError>(file, ": at least one sample is required; none was generated; give --tokens");
  const auto rate = static_cast<std::uint32_t>(input.rate);
  const auto data = static_cast<std::uint32_t>(2 * input.ids.size());
  std::string bytes = "RIFF";
  append_little<std::uint32_t>(bytes, 36 + data);
  bytes += "WAVEfmt ";
  append_little<std::uint32_t>(bytes, 16);
  append_little<std::uint16_t>(bytes, 1);  // PCM
  append_little<std::uint16_t>(bytes, 1);  // channels
  append_little<std::uint32_t>(bytes, rate);
  append_little<std::uint32_t>(bytes, 2 * rate);  // bytes a second
  append_little<std::uint16_t>(bytes, 2);         // bytes of a frame
  append_little<std::uint16_t>(bytes, 16);        // bits
  bytes += "data";
  append_little<std::uint32_t>(bytes, data);
  for (const std::int32_t id : input.ids) append_little(bytes, static_cast<std::uint16_t>(mu_law_sample(id)));
  return bytes;
}

}  // namespace

Writer built_in::wav_writer() {
  return {.name = "wav",
          .what = "WAV sound",
          .extensions = {".wav", ".wave"},
          .smallest_vocabulary = 2,
          .largest_vocabulary = kMuLawTokens,
          .has_rate = true,
          .start_ids = {kSilence},
          .bytes = wav_bytes};
}

}  // namespace mixgrad
