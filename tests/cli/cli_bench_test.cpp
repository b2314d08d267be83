// The verb bench as a process.
#include "tests/support/cli.h"

#include <doctest/doctest.h>

namespace mixgrad::test {
namespace {

const Arguments& bench_data() {
  static const TempFolder folder;
  static const std::string text = (folder / "text.txt").string();
  if (!std::filesystem::exists(text)) folder.put("text.txt", small_text());
  static const Arguments arguments{"--data", text};
  return arguments;
}

TEST_CASE("cli: bench train measures a step, which allocates nothing") {
  for (const std::string mixer : {"attention", "hsm:vector(heads=2)", "hsm:matrix", "hsm:gate_double", "hsm:fusion"}) {
    INFO(mixer);
    Arguments more = bench_data();
    more.insert(more.end(), {"--mixer", mixer});
    const Finished run = mixgrad("bench train --json --rounds 3" + kTiny, more);
    CHECK(trouble(run) == "");
    const Json result = json_lines(run.out).at(0);
    CHECK(keys_of(result).starts_with("ms_per_step,tokens_per_s,peak_bytes,allocations_per_step"));
    CHECK(result["ms_per_step"].get<double>() > 0);
    CHECK(result["tokens_per_s"].get<double>() ==
          doctest::Approx(2 * 8 / result["ms_per_step"].get<double>() * 1e3).epsilon(1e-9));
    CHECK(result["peak_bytes"].get<std::int64_t>() > 0);
    if (kSanitized) {
      CHECK(result["allocations_per_step"].is_null());
    } else {
      CHECK(result["allocations_per_step"] == 0);
    }
  }
  // AMX, where the processor has it.
  for (const Arguments& numbers : {Arguments{"--precision", "bf16"}, Arguments{"--matmul-precision", "medium"}}) {
    INFO(numbers.back());
    Arguments more = bench_data();
    more.insert(more.end(), numbers.begin(), numbers.end());
    const Finished run = mixgrad("bench train --json --rounds 3" + kTiny, more);
    CHECK(trouble(run) == "");
    CHECK((kSanitized || json_lines(run.out).at(0)["allocations_per_step"] == 0));
  }
  // More threads than cores: some meet a kernel for the first time long after the warm-up.
  for (const std::string mixer : {"attention", "mamba"}) {
    INFO(mixer);
    Arguments more = bench_data();
    more.insert(more.end(), {"--mixer", mixer});
    const Finished run = mixgrad(
        "bench train --json --rounds 20 --threads 7 --layers 2 --d-model 64 --heads 4 --context 32 --batch 8", more);
    CHECK(trouble(run) == "");
    CHECK((kSanitized || json_lines(run.out).at(0)["allocations_per_step"] == 0));
  }
  const Finished text = mixgrad("bench train --rounds 1" + kTiny, bench_data());
  CHECK(trouble(text) == "");
  CHECK(has(text.out, "ms a step"));
  CHECK(has(text.out, ", 1 thread\n"));
  CHECK(has(mixgrad("bench train --rounds 1" + kTiny + "--threads 2", bench_data()).out, ", 2 threads\n"));
}

TEST_CASE("cli: bench decode times the tokens of one sequence, and a shift-mixing state does not grow") {
  Arguments more = bench_data();
  more.insert(more.end(), {"--mixer", "hsm:gate_single(heads=2),hsm:scalar", "--positions", "none"});
  const Finished run = mixgrad("bench decode --json --threads 1 --tokens 105" + kTinyModel, more);
  CHECK(trouble(run) == "");
  const std::vector<Json> rows = json_lines(run.out);
  REQUIRE(rows.size() == 10);
  for (const Json& row : rows) {
    CHECK(keys_of(row) == "tokens,us_per_token,state_bytes,tensor_bytes,resident_bytes");
    CHECK(row["us_per_token"].get<double>() > 0);
    CHECK(row["state_bytes"] == rows[0]["state_bytes"]);
    CHECK(row["tensor_bytes"] == rows[1]["tensor_bytes"]);
    CHECK(row["resident_bytes"].get<std::int64_t>() > 0);
  }
  CHECK(rows.front()["tokens"] == 10);
  CHECK(rows.back()["tokens"] == 105);
  const Finished text = mixgrad("bench decode --threads 1 --tokens 3" + kTinyModel, more);
  CHECK(trouble(text) == "");
  CHECK(has(text.out, "state bytes"));
  const Finished wrong = mixgrad("bench train --tokens 3" + kTiny, more);
  CHECK(not_refused(wrong, 2) == "");
  CHECK(has(wrong.err, "--tokens cannot be given here: it belongs to bench decode"));
  const Finished batch = mixgrad("bench decode --batch 3" + kTinyModel, more);
  CHECK(not_refused(batch, 2) == "");
  CHECK(has(batch.err, "--batch cannot be given here: it belongs to bench train"));
}

}  // namespace
}  // namespace mixgrad::test
