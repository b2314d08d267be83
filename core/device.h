// Where a tensor lives.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace mixgrad {

struct Device {
  enum class Kind : std::uint8_t { cpu, cuda };
  Kind kind = Kind::cpu;
  std::int8_t index = 0;

  bool is_cpu() const { return kind == Kind::cpu; }
  bool is_cuda() const { return kind == Kind::cuda; }
  friend bool operator==(const Device&, const Device&) = default;
  std::string str() const { return is_cpu() ? "cpu" : "cuda:" + std::to_string(index); }
};

inline constexpr Device kCpu{};
inline constexpr int kMaxDeviceIndex = 63;

// "cpu", "cuda" (= cuda:0) or "cuda:N"; ValueError for anything else.
Device parse_device(std::string_view text);

// DeviceError when this build or this machine has no such device, saying which and what to do.
void require_device(Device device);

}  // namespace mixgrad
