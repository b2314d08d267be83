// How the program waits for its threads (apps/process/waiting.h).
#include <doctest/doctest.h>

#include <cstdlib>
#include <string>

#include "tests/support/process.h"
#include "tests/support/reliability.h"
#include "tests/support/sanitized.h"
#include "tests/support/temp_folder.h"

namespace mixgrad::test {
namespace {

// Takes a variable out of this process's environment for a while.
class Without {
 public:
  explicit Without(const char* name) : name_(name) {
    if (const char* value = std::getenv(name)) value_ = value;
    ::unsetenv(name);
  }
  Without(const Without&) = delete;
  Without& operator=(const Without&) = delete;
  ~Without() {
    if (!value_.empty()) ::setenv(name_, value_.c_str(), 1);
  }

 private:
  const char* name_;
  std::string value_;
};

// The environment of a run in its first steps.
std::string environment_of_a_run(const ProcessSetting& setting) {
  const Without policy("OMP_WAIT_POLICY");
  const Without count("GOMP_SPINCOUNT");
  const TempFolder folder;
  Process process(folder, tiny_run(folder, "run", "--steps 1000000 --threads 2"), setting);
  REQUIRE(wait_until([&] { return process.catches(SIGTERM); }, 30));
  return process.environment();
}

}  // namespace

TEST_CASE("waiting: a run whose user said nothing lets threads spin briefly; what the user said stands") {
  const std::string set = "GOMP_SPINCOUNT=5000\n";
#if defined(__clang__)
  const bool sets = false;  // another OpenMP
#else
  const bool sets = !kSanitized;
#endif
  CHECK(has(environment_of_a_run({}), set) == sets);
  CHECK(!has(environment_of_a_run({.environment = {{"OMP_WAIT_POLICY", "passive"}}}), set));
  CHECK(!has(environment_of_a_run({.environment = {{"GOMP_SPINCOUNT", "7"}}}), set));
}

}  // namespace mixgrad::test
