// mixgrad conform: this engine against cases of an independent float64 reference.
#include <cmath>
#include <cstdio>
#include <limits>
#include <nlohmann/json.hpp>

#include "apps/options/placement_options.h"
#include "apps/options/verb.h"
#include "apps/output/json_line.h"
#include "core/error.h"
#include "core/parallel.h"
#include "nn/conformance/conformance.h"
#include "ops/support/device_check.h"

namespace mixgrad::app {
namespace {

class Conform : public Verb {
 public:
  std::string name() const override { return "conform"; }
  std::string summary() const override { return "Compare with files of an independent float64 reference"; }
  std::string example() const override { return "mixgrad conform tests/conformance/gpt.safetensors --precision f32"; }

  void declare(OptionSet& options) override {
    options.add_positional("files", files_, "Conformance files");
    placement_.declare(options, {"f64", "f32", "bf16"}, "Type of the arithmetic; f64 must agree to 1e-9");
    options.add("threads", threads_, kThreads, "Threads; 0 = all cores");
    options.add_flag("json", json_, "One JSON object per file on stdout");
  }

  int run() override {
    placement_.check_device();
    const ContextScope scope(placement_.context(threads_));
    if (!json_) {
      std::printf("%-28s %-4s %9s %9s %9s %9s %9s %9s %9s\n", "case", "", "logits", "loss", "grad", "steps", "after",
                  "decode", "probes");
    }
    int failed = 0;
    for (const std::string& file : files_) {
      const ConformanceResult result = compare(file);
      if (!result.pass) ++failed;
      json_ ? print_object(result) : print_row(result);
    }
    if (!json_) {
      std::printf("%zu of %zu cases pass in %s (largest error relative to the largest value of each tensor)\n",
                  files_.size() - static_cast<std::size_t>(failed), files_.size(), placement_.precision.c_str());
    }
    return failed == 0 ? kOk : kCheckFailed;
  }

 private:
  ConformanceResult compare(const std::string& file) const {
    try {
      return run_conformance(file, placement_.place().dtype, placement_.where());
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

  static void print_row(const ConformanceResult& r) {
    std::printf("%-28s %-4s", r.name.c_str(), r.pass ? "ok" : "FAIL");
    for (const auto& figure : {r.logits, r.loss, r.grad, r.step_losses, r.after, r.decode, r.probes}) {
      figure ? std::printf(" %9.1e", *figure) : std::printf(" %9s", "-");
    }
    std::printf("%s%s\n", r.pass ? "" : "  worst: ", r.worst.c_str());
  }

  void print_object(const ConformanceResult& r) const {
    nlohmann::ordered_json object;
    object["case"] = r.name;
    object["device"] = placement_.where().str();
    object["precision"] = dtype_name(r.precision);
    const auto put = [&](const char* key, const std::optional<double>& figure) {
      if (figure) {  // JSON has no infinity, and null means that the file lacks the part
        object[key] = std::isfinite(*figure) ? *figure : std::numeric_limits<double>::max();
      } else {
        object[key] = nullptr;
      }
    };
    put("logits", r.logits);
    put("loss", r.loss);
    put("grad", r.grad);
    put("step_losses", r.step_losses);
    put("after", r.after);
    put("decode", r.decode);
    put("probes", r.probes);
    object["pass"] = r.pass;
    print_json(object);
  }

  std::vector<std::string> files_;
  PlacementOptions placement_{.precision = "f64"};
  std::int64_t threads_ = 0;
  bool json_ = false;
};

}  // namespace

std::unique_ptr<Verb> make_conform() { return std::make_unique<Conform>(); }

}  // namespace mixgrad::app
