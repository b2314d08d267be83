// The test program: doctest's main, and what doctest does not do: a filter that matches no test case fails, and what
// this build leaves out is said.
#define DOCTEST_CONFIG_IMPLEMENT
#include <doctest/doctest.h>

#include <cstdio>
#include <cstdlib>

#include "core/build.h"
#include "core/error.h"
#include "core/parallel.h"
#include "tests/support/device.h"

namespace {

unsigned g_matching = 0;  // test cases that the filters let through

struct CountMatching final : doctest::IReporter {
  explicit CountMatching(const doctest::ContextOptions&) {}
  void test_run_end(const doctest::TestRunStats& stats) override { g_matching = stats.numTestCasesPassingFilters; }

  void report_query(const doctest::QueryData&) override {}
  void test_run_start() override {}
  void test_case_start(const doctest::TestCaseData&) override {}
  void test_case_reenter(const doctest::TestCaseData&) override {}
  void test_case_end(const doctest::CurrentTestCaseStats&) override {}
  void test_case_exception(const doctest::TestCaseException&) override {}
  void subcase_start(const doctest::SubcaseSignature&) override {}
  void subcase_end() override {}
  void log_assert(const doctest::AssertData&) override {}
  void log_message(const doctest::MessageData&) override {}
  void test_case_skipped(const doctest::TestCaseData&) override {}
};
REGISTER_LISTENER("count_matching", 0, CountMatching);

void say_what_is_absent() {
  if (!mixgrad::build::has_cuda)
    std::fputs("ABSENT: CUDA is not compiled in; every test runs on the CPU only\n", stderr);
  if (!mixgrad::build::checked)
    std::fputs("ABSENT: fresh memory is not filled with NaN (preset check does it)\n", stderr);
}

}  // namespace

int main(int argc, char** argv) {
  mixgrad::flush_denormals();
  try {
    mixgrad::require_device(mixgrad::test::test_device());
  } catch (const mixgrad::Error& error) {  // asked for and absent: a failure, not a skip
    std::fprintf(stderr, "MIXGRAD_DEVICE: %s\n", error.what());
    return EXIT_FAILURE;
  }
  doctest::Context context(argc, argv);
  const int status = context.run();
  if (context.shouldExit()) return status;  // a query, such as --list-test-cases
  say_what_is_absent();
  if (g_matching == 0) {
    std::fputs("no test case matches the filters\n", stderr);
    return EXIT_FAILURE;
  }
  return status;
}
