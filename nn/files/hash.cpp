#include "nn/files/hash.h"

#include <algorithm>
#include <array>
#include <cstdio>

#define XXH_INLINE_ALL
#include <xxhash.h>

namespace mixgrad {

struct Xxh3::State {
  XXH3_state_t xxh3;
};

Xxh3::Xxh3() : state_(new State) { XXH3_64bits_reset(&state_->xxh3); }
Xxh3::~Xxh3() = default;

void Xxh3::add(const void* data, std::size_t bytes) {
  if (bytes > 0) XXH3_64bits_update(&state_->xxh3, data, bytes);
}

std::string Xxh3::hex() const {
  std::array<char, 20> text{};
  std::snprintf(text.data(), text.size(), "%016llx",
                static_cast<unsigned long long>(XXH3_64bits_digest(&state_->xxh3)));
  return text.data();
}

std::string xxh3_hex(std::string_view bytes) {
  Xxh3 hash;
  hash.add(bytes.data(), bytes.size());
  return hash.hex();
}

bool is_xxh3_hex(std::string_view text) {
  return text.size() == 16 &&
         std::all_of(text.begin(), text.end(), [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
}

}  // namespace mixgrad
