// mixgrad conform: compares this engine with cases of an independent float64 reference.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <limits>
#include <optional>

#include "apps/options/placement_options.h"
#include "apps/output/error_line.h"
#include "apps/output/table.h"
#include "apps/verbs/verbs.h"
#include "core/dispatch/device_check.h"
#include "core/error.h"
#include "core/text/plural.h"
#include "nn/conformance/conformance.h"

namespace mixgrad::app {
namespace {

class Conform : public Verb {
 public:
  std::string summary() const override { return "Compare with files of an independent float64 reference"; }
  std::string example() const override { return "mixgrad conform tests/conformance/gpt.safetensors --precision f32"; }

  void declare(OptionSet& options) override {
    options.add_files("FILE", files_, "Conformance files");
    placement_.declare(options, {"f64", "f32", "bf16"}, "Type of the arithmetic; f64 must agree to 1e-9");
    declare_threads(options, threads_);
    options.add_flag("json", json_, "One JSON object per file on stdout");
  }

  int run() override {
    placement_.check_device();
    const ContextScope scope(placement_.context(threads_));
    const TableColumn figure{.key = "", .number = true, .format = "%.1e", .width = 9};
    const auto figure_of = [&](const char* key, const char* title) {
      TableColumn column = figure;
      column.key = key;
      column.title = title;
      return column;
    };
    Table table(format_of(json_), {{.key = "case", .width = 27},
                                   {.key = "verdict", .title = " ", .width = 4, .shown = ShownIn::text},
                                   {.key = "device", .shown = ShownIn::json},
                                   {.key = "precision", .shown = ShownIn::json},
                                   figure_of("logits", "logits"),
                                   figure_of("loss", "loss"),
                                   figure_of("grad", "grad"),
                                   figure_of("step_losses", "steps"),
                                   figure_of("after", "after"),
                                   figure_of("decode", "decode"),
                                   figure_of("probes", "probes"),
                                   {.key = "pass", .shown = ShownIn::json},
                                   {.key = "worst", .title = " ", .width = 1, .shown = ShownIn::text}});
    std::size_t passed = 0;
    int code = kOk;
    for (const std::string& file : files_) {
      try {
        const ConformanceResult result = compare(file);
        if (result.pass) ++passed;
        if (!result.pass) code = std::max<int>(code, kCheckFailed);
        add_row(table, result);
      } catch (const FormatError& error) {
        code = std::max<int>(code, fail(kBadInput, error.what()));  // the other files are compared nevertheless
      } catch (const IoError& error) {
        code = std::max<int>(code, fail(kSystem, error.what()));
      }
    }
    table.finish();
    if (!json_) {
      std::printf(
          "%zu of %s in %s (largest error relative to the largest value of each tensor)\n", passed,
          (count_text(static_cast<std::int64_t>(files_.size()), "case") + (files_.size() == 1 ? " passes" : " pass"))
              .c_str(),
          placement_.precision.c_str());
    }
    return code;
  }

 private:
  ConformanceResult compare(const std::string& file) const {
    try {
      return run_conformance(file, placement_.model_placement().dtype, placement_.where());
    } catch (const FormatError&) {
      throw;
    } catch (const IoError&) {
      throw;
    } catch (const OutOfMemory&) {
      throw;
    } catch (const DeviceMismatch&) {
      throw;
    } catch (const Error& error) {  // such as a token outside the model's vocabulary: it is the file that is wrong
      raise<FormatError>(file, ": this case cannot be run: ", error.what());
    }
  }

  void add_row(Table& table, const ConformanceResult& r) const {
    const auto figure = [](const std::optional<double>& error) -> TableCell {
      if (!error) return nullptr;  // the file lacks the part
      if (std::isfinite(*error)) return *error;
      return {std::numeric_limits<double>::max(), "inf"};  // JSON has no infinity
    };
    table.add({r.name, r.pass ? "ok" : "FAIL", placement_.where().str(), dtype_name(r.precision), figure(r.logits),
               figure(r.loss), figure(r.grad), figure(r.step_losses), figure(r.after), figure(r.decode),
               figure(r.probes), r.pass, r.pass ? "" : "worst: " + r.worst});
  }

  std::vector<std::string> files_;
  PlacementOptions placement_{.precision = "f64"};
  std::int64_t threads_ = 0;
  bool json_ = false;
};

}  // namespace

std::unique_ptr<Verb> verbs::conform() { return std::make_unique<Conform>(); }

}  // namespace mixgrad::app
