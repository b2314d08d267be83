#include "apps/verbs/bench/bench_op.h"

#include <cstdio>
#include <nlohmann/json.hpp>

#include "apps/output/table.h"
#include "core/error.h"
#include "core/parallel.h"
#include "core/text/parse_number.h"
#include "core/text/plural.h"
#include "core/text/suggest.h"
#include "ops/cases/operator_timing.h"

namespace mixgrad::app {
namespace {

const test::OperatorCases& operator_named(const std::string& name) {
  std::vector<std::string> known;
  for (const test::OperatorCases& entry : test::all_cases()) {
    if (entry.spec->name == name) return entry;
    known.emplace_back(entry.spec->name);
  }
  raise<ValueError>("bench op: NAME must be that of an operator; got ", quote(name), "; ", did_you_mean(name, known),
                    "operators: ", join(known));
}

// "T=1024,C=1536" into the sizes of the operator.
void set_sizes(test::BenchSizes& sizes, const std::string& text) {
  std::vector<std::string> names;
  for (std::size_t at = 0; at <= text.size();) {
    const std::size_t end = std::min(text.find(',', at), text.size());
    const std::string part = text.substr(at, end - at);
    const std::size_t equals = part.find('=');
    const auto value = equals == std::string::npos ? std::nullopt : mixgrad::parse_integer(part.substr(equals + 1));
    if (!value) {
      raise<ValueError>("bench op: --sizes must be NAME=NUMBER, several with commas between; got ", quote(text),
                        "; correct ", quote(part));
    }
    const std::string name = part.substr(0, equals);
    if (std::find(names.begin(), names.end(), name) != names.end()) {
      raise<ValueError>("bench op: --sizes must give each size once; got ", name, " twice; leave one out");
    }
    names.push_back(name);
    sizes.set(name, *value);
    at = end + 1;
  }
}

nlohmann::ordered_json json_of(const test::BenchSizes& sizes) {
  nlohmann::ordered_json object = nlohmann::ordered_json::object();
  for (const test::BenchSize& size : sizes.all()) object[size.name] = size.value;
  return object;
}

// A figure, or null (shown as "-") where it has no meaning.
TableCell quotient(double amount, double of, double unit, const char* format) {
  if (amount == 0 || of == 0) return {nullptr, "-"};
  char text[32];
  std::snprintf(text, sizeof text, format, amount / of / unit);
  return {amount / of, text};
}

}  // namespace

void BenchOp::declare(OptionSet& options) {
  options.add("sizes", sizes, "Sizes of the operator, others than its defaults: T=1024,C=1536",
              {.value = "SIZES", .only_for = {"op"}, .given = &sizes_given});
  options.add("peak-gb", peak_gb, kAboveZero,
              "The memory's ceiling in GB/s; without it a large copy in the same run measures it",
              {.only_for = {"op"}, .given = &peak_gb_given});
  options.add("peak-gflop", peak_gflop, kAboveZero,
              "The arithmetic's ceiling in GFLOP/s; without it a large matrix product in the same run measures it",
              {.only_for = {"op"}, .given = &peak_gflop_given});
}

void BenchOp::check(const PlacementOptions& placement, std::int64_t threads) const {
  if (placement.checks()) {
    raise<ValueError>("bench op: --device must be cpu, cuda or cuda:N; got check, under which every operator runs ",
                      "twice; choose one of them");
  }
  if (names.size() > 1) {
    raise<ValueError>("bench op: one NAME is timed at a time; got ", names.size(), "; leave the others out");
  }
  const bool elsewhere = !(placement == PlacementOptions()) || threads != 0;
  if (names.empty() && (sizes_given || peak_gb_given || peak_gflop_given || rounds_given || elsewhere)) {
    raise<ValueError>("bench op: without the NAME of an operator the operators are listed, and --json is the only ",
                      "option; got others; give a NAME, or leave them out");
  }
}

void BenchOp::list(bool json) const {
  Table table(format_of(json), {{.key = "op", .title = "operator"},
                                {.key = "sizes", .title = "sizes with their defaults"},
                                {.key = "counted", .title = "operations"}});
  for (const test::OperatorCases& entry : test::all_cases()) {
    if (entry.bench == nullptr) {
      table.add({entry.spec->name, nullptr, "not to be timed: it gives no sizes"});
      continue;
    }
    const test::BenchSizes defaults = test::bench_sizes(entry);
    table.add({entry.spec->name, TableCell(json_of(defaults), defaults.text()), test::bench_of(entry).counted});
  }
  table.finish();
}

void BenchOp::run(const PlacementOptions& placement, std::int64_t rounds, bool json) const {
  if (names.empty()) return list(json);
  const test::OperatorCases& entry = operator_named(names[0]);
  test::BenchSizes of_operator = test::bench_sizes(entry);
  if (sizes_given) set_sizes(of_operator, sizes);
  const DType dtype = parse_precision(placement.precision);
  const Device device = placement.where();
  test::Ceilings ceilings{1e9 * peak_gb, 1e9 * peak_gflop};
  if (!peak_gb_given || !peak_gflop_given) {
    const test::Ceilings measured = test::measure_ceilings(dtype, device);
    if (!peak_gb_given) ceilings.bytes_per_s = measured.bytes_per_s;
    if (!peak_gflop_given) ceilings.operations_per_s = measured.operations_per_s;
  }
  const test::OperatorTiming timing =
      test::time_operator(entry, of_operator, {.dtype = dtype, .device = device, .rounds = static_cast<int>(rounds)});

  if (!json) {
    std::printf("%s %s, %s on %s", names[0].c_str(), of_operator.text().c_str(), placement.precision.c_str(),
                device.str().c_str());
    if (!device.is_cuda()) std::printf(" with %s", count_text(threads(), "thread").c_str());
    std::printf("; a copy reaches %.0f GB/s%s, a product %.0f GFLOP/s%s\n", ceilings.bytes_per_s / 1e9,
                peak_gb_given ? " (given)" : "", ceilings.operations_per_s / 1e9, peak_gflop_given ? " (given)" : "");
  }
  Table table(format_of(json),
              {{.key = "op", .shown = ShownIn::json},
               {.key = "pass", .width = 8},
               {.key = "ms", .number = true, .format = "%.4f", .width = 10},
               {.key = "fastest_ms", .title = "fastest", .number = true, .format = "%.4f", .width = 10},
               {.key = "slowest_ms", .title = "slowest", .number = true, .format = "%.4f", .width = 10},
               {.key = "bytes", .title = "MB", .number = true, .width = 10},
               {.key = "operations", .title = "GFLOP", .number = true, .width = 10},
               {.key = "bytes_per_s", .title = "GB/s", .number = true, .width = 9},
               {.key = "operations_per_s", .title = "GFLOP/s", .number = true, .width = 10},
               {.key = "share_of_copy", .title = "% of copy", .number = true, .width = 9},
               {.key = "share_of_product", .title = "% of product", .number = true, .width = 12},
               {.key = "sizes", .shown = ShownIn::json},
               {.key = "device", .shown = ShownIn::json},
               {.key = "precision", .shown = ShownIn::json},
               {.key = "threads", .shown = ShownIn::json},
               {.key = "rounds", .shown = ShownIn::json},
               {.key = "calls", .shown = ShownIn::json},
               {.key = "copy_bytes_per_s", .shown = ShownIn::json},
               {.key = "product_operations_per_s", .shown = ShownIn::json}});
  const auto row = [&](const char* name, const test::TimedPass& pass) {
    const double s = pass.median();
    table.add({names[0], name, 1e3 * s, 1e3 * pass.fastest(), 1e3 * pass.slowest(),
               quotient(pass.bytes, 1, 1e6, "%.2f"), quotient(pass.operations, 1, 1e9, "%.3f"),
               quotient(pass.bytes, s, 1e9, "%.1f"), quotient(pass.operations, s, 1e9, "%.1f"),
               quotient(pass.bytes_per_s(), ceilings.bytes_per_s, 0.01, "%.1f"),
               quotient(pass.operations_per_s(), ceilings.operations_per_s, 0.01, "%.1f"), json_of(of_operator),
               device.str(), placement.precision, device.is_cuda() ? TableCell(nullptr) : TableCell(threads()), rounds,
               timing.calls, ceilings.bytes_per_s, ceilings.operations_per_s});
  };
  row("forward", timing.forward);
  row("backward", timing.backward);
  row("both", timing.both);
  table.finish();
  if (json) return;
  const test::OpBench bench = test::bench_of(entry);
  std::printf(
      "Median of %s of %s%s. Counted are %s; bytes: forward reads each input and writes each output once, "
      "backward reads the gradients of the outputs and what the formula needs, and writes each gradient once.\n",
      count_text(rounds, "round").c_str(), count_text(timing.calls, "call").c_str(),
      device.is_cuda() ? " in one CUDA graph" : "", bench.counted.c_str());
  if (!bench.remark.empty()) std::printf("%s\n", bench.remark.c_str());
}

}  // namespace mixgrad::app
