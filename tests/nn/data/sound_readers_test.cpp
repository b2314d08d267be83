// nn/data/readers: WAV to mu-law tokens.
#include <doctest/doctest.h>

#include <cmath>

#include "core/error.h"
#include "nn/data/readers/mu_law.h"
#include "tests/support/documents_sink.h"
#include "tests/support/temp_folder.h"
#include "tests/support/text.h"

namespace mixgrad {
namespace {

using test::error_of;
using test::has;
using test::little_bytes;
using test::read_with;
using SoundIds = std::vector<std::int32_t>;

std::string chunk(const std::string& name, const std::string& content) {
  return name + little_bytes<std::uint32_t>({static_cast<std::uint32_t>(content.size())}) + content +
         std::string(content.size() % 2, '\0');
}

struct SoundForm {
  int coding = 1, channels = 1, bits = 16;
  std::uint32_t rate = 8000;
};

std::string format_chunk(const SoundForm& form) {
  const auto small = [](int value) { return little_bytes<std::uint16_t>({static_cast<std::uint16_t>(value)}); };
  const int frame = form.channels * form.bits / 8;
  return chunk("fmt ", small(form.coding) + small(form.channels) +
                           little_bytes<std::uint32_t>({form.rate, form.rate * static_cast<unsigned>(frame)}) +
                           small(frame) + small(form.bits));
}

std::string riff(const std::string& chunks) {
  return "RIFF" + little_bytes<std::uint32_t>({static_cast<std::uint32_t>(chunks.size() + 4)}) + "WAVE" + chunks;
}

std::string wav(const SoundForm& form, const std::string& data) {
  return riff(format_chunk(form) + chunk("data", data));
}

std::string wav_error(const std::string& file) {
  return error_of<FormatError>([&] { read_with("wav", file); });
}

// The formula of the data set, in plain steps.
std::int32_t formula(double s) {
  const double f = s / 32768;
  const double y = (f < 0 ? -1 : 1) * std::log(1 + 255 * std::abs(f)) / std::log(256);
  return static_cast<std::int32_t>(std::floor((y + 1) / 2 * 255 + 0.5));
}

TEST_CASE("sound: every sample of 16 bits becomes the token of the formula, and a token its own sample") {
  std::vector<std::int16_t> samples;
  for (int s = -32768; s <= 32767; ++s) samples.push_back(static_cast<std::int16_t>(s));
  const auto found = read_with("wav", wav({.rate = 16'000}, little_bytes(samples)));
  REQUIRE(found.id_lists.size() == 1);
  CHECK(found.sound_rate == 16'000);
  int different = 0;
  for (std::size_t i = 0; i < samples.size(); ++i) different += found.id_lists[0][i] != formula(samples[i]) ? 1 : 0;
  CHECK(different == 0);
  CHECK(mu_law_token(0) == 128);
  for (std::int32_t token = 0; token < 256; ++token) CHECK(mu_law_token(mu_law_sample(token)) == token);
}

TEST_CASE("sound: 8 bits, mu-law of G.711, two channels, other chunks and odd lengths") {
  CHECK(read_with("wav", wav({.bits = 8}, {"\x80\x00\xff", 3})).id_lists[0] ==
        SoundIds{128, formula(-32768), formula(127 * 256)});
  // Table 2a of G.711 on the scale of 16 bits: 0xff and 0x7f are silence, 0x00 and 0x80 the ends.
  CHECK(g711_sample(0xff) == 0);
  CHECK(g711_sample(0x7f) == 0);
  CHECK(g711_sample(0x00) == -32124);
  CHECK(g711_sample(0x80) == 32124);
  CHECK(g711_sample(0xf0) == 120);
  CHECK(g711_sample(0xef) == 132);
  CHECK(read_with("wav", wav({.coding = 7, .bits = 8}, {"\xff\x00\xef", 3})).id_lists[0] ==
        SoundIds{128, formula(-32124), formula(132)});
  const auto stereo = little_bytes<std::int16_t>({100, 300, -5, -6, 32767, 32767});
  CHECK(read_with("wav", wav({.channels = 2}, stereo)).id_lists[0] ==
        SoundIds{formula(200), formula(-5.5), formula(32767)});
  const std::string around = riff(chunk("LIST", "odd") + format_chunk({.bits = 8}) + chunk("fact", "1234") +
                                  chunk("data", "\x80") + chunk("LIST", ""));
  CHECK(read_with("wav", around).id_lists[0] == SoundIds{128});
  std::string extended = format_chunk({.coding = 0xfffe});
  extended = chunk("fmt ", extended.substr(8) + std::string("\x16\x00\x10\x00\x04\x00\x00\x00\x01\x00", 10));
  CHECK(read_with("wav", riff(extended + chunk("data", {"\0\0", 2}))).id_lists[0] == SoundIds{128});
}

TEST_CASE("sound: truncated files, chunks that lie about their length, and forms that are not read") {
  const std::string good = wav({}, "12345678");
  for (std::size_t bytes = 0; bytes < good.size(); ++bytes) {
    const std::string error = wav_error(good.substr(0, bytes));
    CHECK_MESSAGE(error.starts_with("file: "), bytes << ": " << error);
  }
  std::string lying = good;
  lying[40] = '\x09';  // the length of the data chunk
  CHECK(has(wav_error(lying), "a chunk must have 9 bytes; 8 are left at byte 44; the file is truncated or damaged"));
  lying[40] = '\x06';
  CHECK(has(wav_error(lying), "the name of a chunk must have 4 bytes; 2 are left"));
  std::string longer = good;
  longer[4] = '\xff';
  CHECK(has(wav_error(longer), "its length must be at least 4 and fit the file; it says 255 bytes, 44 follow"));
  CHECK(has(wav_error("RIFX"), "begins with RIFF"));
  CHECK(has(wav_error(wav({.coding = 3, .bits = 32}, "1234")), "the file has coding 3 with 32 bits"));
  CHECK(has(wav_error(wav({.bits = 24}, "123")), "the file has coding 1 with 24 bits"));
  CHECK(has(wav_error(wav({.channels = 6}, "123456789012")), "one or two channels are required; the file has 6"));
  CHECK(has(wav_error(wav({.rate = 0}, "12")), "a rate above 0"));
  CHECK(has(wav_error(wav({}, "123")), "whole frames of 2 bytes; 1 bytes are left over"));
  CHECK(has(wav_error(wav({}, "")), "the file has no samples"));
  CHECK(has(wav_error(riff(chunk("data", "12"))), "the file has no format"));
  CHECK(has(wav_error(riff(format_chunk({}) + chunk("data", "12") + chunk("data", "12"))), "there are two"));
}

}  // namespace
}  // namespace mixgrad
