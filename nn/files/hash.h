// XXH3 (xxhash.com), 64 bits: tells a file that changed from one that did not. Not against forgery.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

namespace mixgrad {

class Xxh3 {
 public:
  Xxh3();
  ~Xxh3();
  Xxh3(const Xxh3&) = delete;
  Xxh3& operator=(const Xxh3&) = delete;

  void add(const void* data, std::size_t bytes);
  std::string hex() const;  // 16 digits

 private:
  struct State;
  std::unique_ptr<State> state_;
};

std::string xxh3_hex(std::string_view bytes);

// Exactly 16 digits of 0-9 a-f?
bool is_xxh3_hex(std::string_view text);

}  // namespace mixgrad
