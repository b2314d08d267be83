// For the tests whose figures stand in docs/reliability.md. ctest runs each a few times; scripts/reliability.sh sets
// MIXGRAD_LONG=1 for as often as the page says, and collects the lines that figure() prints.
#pragma once

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <string>

#include "tests/support/process.h"

namespace mixgrad::test {

inline bool long_run() { return std::getenv("MIXGRAD_LONG") != nullptr; }
inline int times(int in_ctest, int in_the_long_run) { return long_run() ? in_the_long_run : in_ctest; }

inline void figure(const std::string& what, const std::string& result) {
  std::printf("FIGURE %s: %s\n", what.c_str(), result.c_str());
  std::fflush(stdout);
}

// A run of about 4,000 parameters.
Arguments tiny_run(const TempFolder& folder, const std::string& name, const std::string& options);
Arguments resumption(const std::filesystem::path& run, const std::string& options);

// Whether metrics.jsonl of a run that was started grows by 20 lines more, and the process still runs then.
bool goes_on(Process& process, const std::filesystem::path& run);

// A part of the whole generation: "" when it can be read to the last bit, else why not.
std::string unreadable(const std::filesystem::path& generation);
// Every generation of a run must be readable, and latest must point to one of them.
std::string damage(const std::filesystem::path& run);

std::string saved_steps(const std::filesystem::path& run);  // of its generations: "20 30"
std::string weights_of(const std::filesystem::path& run);
std::string metrics_of(const std::filesystem::path& run);  // metrics.jsonl without the speed

}  // namespace mixgrad::test
