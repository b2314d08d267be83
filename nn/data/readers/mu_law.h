// Samples of sound as 256 tokens, on the logarithmic scale of mu-law, and the bytes of G.711.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>

namespace mixgrad {

inline constexpr std::int64_t kMuLawTokens = 256;

// floor((y + 1)/2 * 255 + 0.5), y = sign(f) ln(1 + 255 |f|) / ln 256, f = sample / 32768. Silence is 128.
inline std::int32_t mu_law_token(double sample) {
  const double f = std::clamp(sample / 32768, -1.0, 1.0);
  const double y = std::copysign(std::log1p(255 * std::fabs(f)) / std::log(256.0), f);
  return static_cast<std::int32_t>(std::floor((y + 1) / 2 * 255 + 0.5));
}

// The sample of 16 bits that a token stands for: the inverse of the formula at the token itself.
inline std::int32_t mu_law_sample(std::int32_t token) {
  const double y = token / 255.0 * 2 - 1;
  const double f = std::copysign((std::pow(256.0, std::fabs(y)) - 1) / 255, y);
  return static_cast<std::int32_t>(std::clamp(std::lround(f * 32768), -32768L, 32767L));
}

// The sample of 14 bits in a byte of G.711 mu-law, on the scale of 16 bits (ITU-T G.711, table 2a).
inline int g711_sample(unsigned char byte) {
  const unsigned code = ~static_cast<unsigned>(byte) & 0xffU;
  const int magnitude = static_cast<int>((((code & 0x0fU) << 3U) + 0x84U) << ((code >> 4U) & 7U)) - 0x84;
  return (code & 0x80U) != 0 ? -magnitude : magnitude;
}

}  // namespace mixgrad
