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
  // Documents of other lengths in each step: what is allocated are sizes that occur for the first time.
  Arguments documents = bench_data();
  documents.insert(documents.end(), {"--document-token", "\n", "--reset-state"});
  const auto allocated = [&](int rounds) {
    const Finished run = mixgrad("bench train --json --rounds " + std::to_string(rounds) + kTiny, documents);
    CHECK(trouble(run) == "");
    return kSanitized ? 0.0 : json_lines(run.out).at(0)["allocations_per_step"].get<double>() * rounds;
  };
  CHECK(allocated(2000) - allocated(1000) < 50);
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
  // A prompt of more than one piece, whose row comes first.
  const Finished after = mixgrad("bench decode --json --threads 1 --after 700 --tokens 20" + kTinyModel, more);
  CHECK(trouble(after) == "");
  const std::vector<Json> later = json_lines(after.out);
  REQUIRE(later.size() == 11);
  CHECK(later.front()["tokens"] == 700);
  CHECK(later[1]["tokens"] == 702);
  CHECK(later.back()["tokens"] == 720);
  CHECK(later.front()["us_per_token"].get<double>() > 0);
  CHECK(later.back()["state_bytes"] == rows[0]["state_bytes"]);
  const Finished wrong = mixgrad("bench train --tokens 3" + kTiny, more);
  CHECK(not_refused(wrong, 2) == "");
  CHECK(has(wrong.err, "--tokens cannot be given here: it belongs to bench decode"));
  const Finished batch = mixgrad("bench decode --batch 3" + kTinyModel, more);
  CHECK(not_refused(batch, 2) == "");
  CHECK(has(batch.err, "--batch cannot be given here: it belongs to bench train"));
}

const std::string kNoCeilings = " --peak-gb 10 --peak-gflop 100 --rounds 2 --threads 1";

TEST_CASE("cli: bench op times every operator of the list") {
  const Finished listed = mixgrad("bench op --json");
  CHECK(trouble(listed) == "");
  int operators = 0;
  for (const Json& row : json_lines(listed.out)) {
    ++operators;
    const std::string op = row["op"];
    INFO(op);
    CHECK(row["counted"].get<std::string>().size() > 10);
    std::string sizes;  // small ones
    for (const auto& [name, value] : row["sizes"].items()) {
      sizes += (sizes.empty() ? "" : ",") + name + "=" + std::to_string(std::min(value.get<int>(), 16));
    }
    const Finished run = mixgrad(joined({"bench op ", op, " --json --sizes ", sizes, kNoCeilings}));
    CHECK(trouble(run) == "");
    const std::vector<Json> passes = json_lines(run.out);
    REQUIRE(passes.size() == 3);
    CHECK(keys_of(passes[0]) ==
          "op,pass,ms,fastest_ms,slowest_ms,bytes,operations,bytes_per_s,operations_per_s,share_of_copy,"
          "share_of_product,sizes,device,precision,threads,rounds,calls,copy_bytes_per_s,product_operations_per_s");
    for (const Json& pass : passes) {
      CHECK(pass["op"] == op);
      CHECK(pass["ms"].get<double>() > 0);
      CHECK(pass["fastest_ms"].get<double>() <= pass["ms"].get<double>());
      CHECK(pass["ms"].get<double>() <= pass["slowest_ms"].get<double>());
      CHECK(pass["sizes"]["B"].get<int>() <= 16);
      CHECK(pass["copy_bytes_per_s"] == 1e10);
    }
    CHECK((op == "split_heads" || passes[0]["bytes"].get<double>() > 0));
    CHECK((op == "split_heads" || op == "add" || passes[1]["bytes"].get<double>() > 0));
  }
  CHECK(operators == static_cast<int>(json_lines(mixgrad("ops --json").out).size()));
}

TEST_CASE("cli: bench op counts what the formula reads, writes and computes") {
  // x [2,5,3], weight [4,3], bias [4]
  const auto row = [](const std::string& precision, std::size_t pass) {
    const Finished run =
        mixgrad("bench op linear --json --sizes B=2,T=5,K=3,N=4 --precision " + precision + kNoCeilings);
    CHECK(trouble(run) == "");
    return json_lines(run.out).at(pass);
  };
  CHECK(row("f32", 0)["bytes"] == 4 * (30 + 12 + 4 + 40));
  CHECK(row("f32", 1)["bytes"] == 4 * (40 + 30 + 12 + 30 + 12 + 4));
  CHECK(row("f32", 2)["bytes"] == 4 * (86 + 128));
  CHECK(row("bf16", 0)["bytes"] == 2 * (30 + 12 + 4 + 40));
  CHECK(row("bf16", 1)["bytes"] == 2 * (40 + 30 + 12 + 30) + 4 * (12 + 4));  // gradients of parameters are f32
  CHECK(row("f64", 0)["operations"] == 2 * 10 * 3 * 4);
  CHECK(row("f64", 1)["operations"] == 4 * 10 * 3 * 4);
  const Json forward = row("f32", 0);
  CHECK(forward["bytes_per_s"].get<double>() ==
        doctest::Approx(forward["bytes"].get<double>() / forward["ms"].get<double>() * 1e3).epsilon(1e-9));
  CHECK(forward["share_of_copy"].get<double>() ==
        doctest::Approx(forward["bytes_per_s"].get<double>() / 1e10).epsilon(1e-9));
  CHECK(forward["share_of_product"].get<double>() ==
        doctest::Approx(forward["operations_per_s"].get<double>() / 1e11).epsilon(1e-9));
}

TEST_CASE("cli: bench op prints a table, and measures the ceilings that are not given") {
  const Finished run = mixgrad("bench op gelu --sizes B=1,T=16,D=8 --rounds 1 --threads 2");
  CHECK(trouble(run) == "");
  CHECK(has(run.out, "gelu B=1 T=16 D=8, f32 on cpu with 2 threads; a copy reaches "));
  CHECK(!has(run.out, "(given)"));
  CHECK(has(run.out, "% of copy"));
  INFO(run.out);
  for (const std::string pass : {"forward ", "backward ", "both "}) CHECK(has(run.out, "\n" + pass));
  CHECK(has(run.out, "Median of 1 round of 16 calls. Counted are 1 operation an element forward, 2 backward; bytes: "));
  CHECK(has(mixgrad(std::string("bench op linear_cross_entropy --sizes T=2,V=9,D=4") + kNoCeilings).out,
            "On a CUDA device forward computes the gradients too"));
  const Finished listed = mixgrad("bench op");
  CHECK(trouble(listed) == "");
  CHECK(has(listed.out, "selective_scan"));
  CHECK(has(listed.out, "B=8 T=1024 R=1 C=1536 N=16 K=48"));
}

TEST_CASE("cli: bench op refuses what it cannot time, and says what there is") {
  const auto refused = [](const std::string& arguments) {
    const Finished run = mixgrad("bench " + arguments);
    CHECK(not_refused(run, 2) == "");
    return run.err;
  };
  CHECK(has(refused("op atention"), R"(NAME must be that of an operator; got "atention"; did you mean "attention"?)"));
  CHECK(has(refused("op gelu relu"), "one NAME is timed at a time; got 2; leave the others out"));
  CHECK(has(refused("op gelu --sizes H=3"),
            "bench of gelu: a size must be one of the operator's; got \"H\"; sizes: B (sequences), T (tokens), D "
            "(channels)"));
  CHECK(has(refused("op gelu --sizes T=0"), "bench of gelu: T (tokens) must be at least 1; got 0; correct it"));
  CHECK(has(refused("op gelu --sizes T=4,T=5"), "--sizes must give each size once; got T twice; leave one out"));
  for (const std::string text : {"T", "T=", "T=x", "T=4,", ""}) {
    INFO(text);
    const Finished run = run_program({"bench", "op", "gelu", "--sizes=" + text});
    CHECK(not_refused(run, 2) == "");
    CHECK((text.empty() || has(run.err, "--sizes must be NAME=NUMBER, several with commas between; got ")));
  }
  for (const std::string more : {"--sizes T=4", "--rounds 3", "--precision bf16", "--threads 2"}) {
    CHECK(has(refused("op " + more), "without the NAME of an operator the operators are listed"));
  }
  CHECK(has(refused("op gelu --device check"), "--device must be cpu, cuda or cuda:N; got check"));
  CHECK(
      has(refused("op gelu --layers 3"), "--layers cannot be given here: it belongs to bench train and bench decode"));
  CHECK(has(refused("op gelu --preset char"),
            "--preset cannot be given here: it belongs to bench train and bench decode"));
  CHECK(has(refused("train gelu"),
            "bench train: no NAME is taken, which belongs to bench op; got \"gelu\"; leave it out"));
  CHECK(has(refused("decode --sizes T=4"), "--sizes cannot be given here: it belongs to bench op"));
  CHECK(has(refused("op head_linear --sizes Z=2"), "bench of head_linear: Z must be 0 or 1; got 2; correct it"));
  CHECK(has(refused("op concat_heads --sizes P=5"), "bench of concat_heads: P must be at most 4; got 5; correct it"));
  CHECK(has(refused("op attention --sizes H=3,G=2"), "attention: heads must be a multiple of kv_heads, got 3 and 2"));
}

}  // namespace
}  // namespace mixgrad::test
