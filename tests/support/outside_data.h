// Data that the repository does not hold: tests that need it look where the environment variable MIXGRAD_TEST_DATA
// says, and say so when they are skipped.
#pragma once

#include <doctest/doctest.h>

#include <cstdlib>
#include <filesystem>
#include <optional>
#include <string>

namespace mixgrad::test {

// The path of such a file, or nothing after a message.
inline std::optional<std::filesystem::path> outside_data(const std::string& name) {
  const char* folder = std::getenv("MIXGRAD_TEST_DATA");
  if (folder == nullptr) {
    MESSAGE("skipped: MIXGRAD_TEST_DATA names no folder with " << name);
    return std::nullopt;
  }
  const std::filesystem::path path = std::filesystem::path(folder) / name;
  if (std::filesystem::exists(path)) return path;
  MESSAGE("skipped: there is no " << path.string());
  return std::nullopt;
}

}  // namespace mixgrad::test
