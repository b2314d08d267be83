#include "apps/report/tensorboard.h"

#include <array>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <string_view>

namespace mixgrad::app {
namespace {

// CRC-32C (Castagnoli), bit by bit from a table of bytes; RFC 3720, appendix B.4.
std::uint32_t crc32c(std::string_view bytes) {
  static const std::array<std::uint32_t, 256> table = [] {
    std::array<std::uint32_t, 256> made{};
    for (std::uint32_t i = 0; i < 256; ++i) {
      std::uint32_t value = i;
      for (int bit = 0; bit < 8; ++bit) value = (value & 1U) != 0 ? value >> 1U ^ 0x82f63b78U : value >> 1U;
      made[i] = value;
    }
    return made;
  }();
  std::uint32_t crc = ~0U;
  for (const char c : bytes) crc = table[(crc ^ static_cast<unsigned char>(c)) & 255U] ^ crc >> 8U;
  return ~crc;
}

std::string little_endian(std::uint64_t value, int bytes) {
  std::string out;
  for (int i = 0; i < bytes; ++i) out += static_cast<char>(value >> (8 * i) & 255U);
  return out;
}

std::string masked_crc(std::string_view bytes) {
  const std::uint32_t crc = crc32c(bytes);
  return little_endian((crc >> 15U | crc << 17U) + 0xa282ead8U, 4);
}

std::string record(const std::string& data) {
  const std::string length = little_endian(data.size(), 8);
  return length + masked_crc(length) + data + masked_crc(data);
}

// ---- fields of protocol buffers

std::string varint(std::uint64_t value) {
  std::string out;
  for (; value >= 128; value >>= 7U) out += static_cast<char>((value & 127U) | 128U);
  return out + static_cast<char>(value);
}
template <class Float>
std::string bits_of(Float value) {
  std::conditional_t<sizeof(Float) == 8, std::uint64_t, std::uint32_t> bits = 0;
  std::memcpy(&bits, &value, sizeof value);
  return little_endian(bits, sizeof value);
}
std::string key(unsigned field, unsigned type) { return varint(field << 3U | type); }
std::string text_field(unsigned field, const std::string& text) { return key(field, 2) + varint(text.size()) + text; }

std::string event(double seconds, std::int64_t step, const std::string& what) {
  return record(key(1, 1) + bits_of(seconds) + key(2, 0) + varint(static_cast<std::uint64_t>(step)) + what);
}

std::string scalar(double seconds, std::int64_t step, const char* tag, double value) {
  const std::string of_value = text_field(1, tag) + key(2, 5) + bits_of(static_cast<float>(value));
  return event(seconds, step, text_field(5, text_field(1, of_value)));
}

}  // namespace

std::string tensorboard_events(const RunRecord& run) {
  std::string out = event(0, 0, text_field(3, "brain.Event:2"));
  double seconds = 0;
  std::int64_t before = 0;
  for (const MetricsLine& line : run.lines) {
    if (line.tokens_per_s > 0) {
      seconds += static_cast<double>((line.step - before) * run.tokens_per_step) / line.tokens_per_s;
    }
    before = line.step;
    const std::pair<const char*, double> values[] = {{"train/loss", line.loss},
                                                     {"validation/loss", line.val_loss},
                                                     {"train/lr", line.lr},
                                                     {"train/grad_norm", line.grad_norm},
                                                     {"train/tokens_per_s", line.tokens_per_s}};
    for (const auto& [tag, value] : values) {
      if (std::isfinite(value)) out += scalar(seconds, line.step, tag, value);
    }
  }
  return out;
}

}  // namespace mixgrad::app
