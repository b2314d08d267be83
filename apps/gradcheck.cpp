// mixgrad gradcheck: every operator's gradient against central differences, and the check against sabotage.
#include <algorithm>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "apps/verb.h"
#include "autograd/gradcheck.h"
#include "core/error.h"
#include "core/parallel.h"
#include "nn/suggest.h"
#include "ops/cases.h"

namespace mixgrad::app {
namespace {

class Gradcheck : public Verb {
 public:
  std::string name() const override { return "gradcheck"; }
  std::string summary() const override { return "Check the gradient of every operator in f64"; }
  std::string example() const override { return "mixgrad gradcheck --op attention"; }

  void declare(OptionSet& options) override {
    options.add("op", op_, "Only this operator");
    options.add("device", device_, "Where the operators run: cpu, cuda or cuda:N");
    options.add("threads", threads_, kThreads, "Threads; 0 = all cores");
    options.add_flag("json", json_, "One JSON object per row and a last one with the summary");
  }

  int run() override {
    if (threads_ > 0) set_threads(static_cast<int>(threads_));
    check_name();
    const Device device = parse_device(device_);
    require_device(device);
    if (!json_) std::printf("%-22s %-44s %-10s %-9s %9s\n", "op", "case", "input", "output", "error");
    for (const test::NamedCases& named : test::all_cases()) {
      const OpSpec& spec = op_spec(named.id);
      if (!op_.empty() && op_ != spec.name) continue;
      ++ops_;
      bool live = false;  // some case of this operator has a gradient that is not zero
      for (const test::OpCase& c : named.make().cases) {
        const GradcheckReport report = gradcheck(c.inputs, c.run, {.device = device});
        for (const GradcheckRow& row : report.rows) {
          live = live || (!row.vacuous && row.sabotage_caught);
          print(spec.name, c.note, row);
        }
      }
      if (!live) {
        ++failed_;
        std::fprintf(stderr, "mixgrad: gradcheck: %s has no case with a gradient that could be wrong\n", spec.name);
      }
    }
    print_summary();
    return failed_ == 0 ? kOk : kCheckFailed;
  }

 private:
  void check_name() const {
    if (op_.empty()) return;
    std::vector<std::string> names;
    for (int i = 0; i < kOpCount; ++i) names.emplace_back(op_spec(static_cast<OpId>(i)).name);
    if (std::find(names.begin(), names.end(), op_) != names.end()) return;
    raise<ValueError>("--op: must be an operator, got ", quote(op_), "; ", did_you_mean(op_, names),
                      "operators: ", join(names));
  }

  void print(const char* op, const std::string& note, const GradcheckRow& row) {
    ++rows_;
    if (!row.pass) ++failed_;
    if (row.vacuous) ++vacuous_;
    if (row.sabotage_caught) ++caught_;
    if (!row.vacuous) worst_ = std::max(worst_, row.max_rel_error);
    if (json_) {
      nlohmann::ordered_json object;
      object["op"] = op;
      object["case"] = note;
      object["input"] = row.output == "all" ? row.input : row.input + " from " + row.output;
      object["device"] = parse_device(device_).str();
      object["dtype"] = "f64";
      object["max_rel_err"] = row.max_rel_error;
      object["pass"] = row.pass;
      std::printf("%s\n", object.dump().c_str());
      return;
    }
    std::printf("%-22s %-44s %-10s %-9s %9.1e %s%s\n", op, note.c_str(), row.input.c_str(), row.output.c_str(),
                row.max_rel_error, row.pass ? (row.vacuous ? "ok (zero)" : "ok") : "FAIL ", row.detail.c_str());
  }

  void print_summary() const {
    if (json_) {
      nlohmann::ordered_json object;
      object["summary"] = true;
      object["ops"] = ops_;
      object["rows"] = rows_;
      object["failed"] = failed_;
      object["worst"] = worst_;
      object["sabotage_caught"] = caught_;
      object["vacuous"] = vacuous_;
      std::printf("%s\n", object.dump().c_str());
    } else {
      std::printf(
          "%d operators, %d rows, %d failed, worst error %.1e (allowed 1e-7); sabotage caught in %d of %d rows "
          "with a gradient (%d are identically zero)\n",
          ops_, rows_, failed_, worst_, caught_, rows_ - vacuous_, vacuous_);
    }
  }

  std::string op_;
  std::string device_ = "cpu";
  std::int64_t threads_ = 0;
  bool json_ = false;
  int ops_ = 0, rows_ = 0, failed_ = 0, vacuous_ = 0, caught_ = 0;
  double worst_ = 0;
};

}  // namespace

std::unique_ptr<Verb> make_gradcheck() { return std::make_unique<Gradcheck>(); }

}  // namespace mixgrad::app
