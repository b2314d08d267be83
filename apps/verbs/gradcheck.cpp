// mixgrad gradcheck: the gradient of every operator against central differences in f64, and the check itself against
// sabotage; on request also the gradients in f32 and bf16 against those in f64. The summary is a matrix of operators,
// devices and dtypes with counts, which also shows what was not run.
#include <algorithm>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <optional>
#include <sstream>

#include "apps/options/option_value.h"
#include "apps/options/placement_options.h"
#include "apps/output/json_line.h"
#include "apps/verbs/verbs.h"
#include "core/build.h"
#include "core/error.h"
#include "core/parallel.h"
#include "core/text/plural.h"
#include "core/text/suggest.h"
#include "ops/cases/case_gradients.h"

namespace mixgrad::app {
namespace {

using Json = nlohmann::ordered_json;

constexpr DType kDTypes[] = {DType::f64, DType::f32, DType::bf16};

// What one row of the table says.
struct Row {
  std::string op, note, input, output = "all";
  double error = 0;
  bool pass = true;
  std::string remark;
};

// One cell of the matrix.
struct Cell {
  int op = 0;  // index in the list of those that ran
  Device device;
  DType dtype = DType::f64;
  int rows = 0, failed = 0;
  double worst = 0;
};

// "a,b" -> {"a", "b"}
std::vector<std::string> parts_of(const std::string& list) {
  std::vector<std::string> parts;
  std::istringstream in(list);
  for (std::string part; std::getline(in, part, ',');) parts.push_back(part);
  if (parts.empty()) parts.emplace_back();
  return parts;
}

class Gradcheck : public Verb {
 public:
  std::string summary() const override { return "Check the gradient of every operator in f64"; }
  std::string example() const override { return "mixgrad gradcheck --op attention"; }

  void declare(OptionSet& options) override {
    options.add_list("op", wanted_, "Only this operator; may be given several times", {.value = "NAME"});
    options.add(
        "device", device_,
        "Where the operators run: cpu, cuda, cuda:N or check (cuda, each kernel compared with the CPU), or a list",
        {.group = OptionGroup::device, .value = "DEVICE"});
    options.add("dtype", dtype_,
                "f64 (central differences), f32, bf16 (against the gradient in f64), or a list such as f64,f32,bf16",
                {.group = OptionGroup::device, .value = "DTYPE"});
    declare_threads(options, threads_);
    options.add_flag("json", json_, "One JSON object per row and a last one with the summary");
  }

  int run() override {
    check_options();
    const ContextScope scope({.threads = static_cast<int>(threads_), .check_devices = check_devices_});
    if (!json_) {
      std::printf("%-22s %-44s %-10s %-9s %-11s %9s\n", "op", "case", "input", "output", "where", "error");
    }
    for (const test::OperatorCases& entry : test::all_cases()) {
      if (!wanted_.empty() && std::find(wanted_.begin(), wanted_.end(), entry.spec->name) == wanted_.end()) continue;
      ops_.emplace_back(entry.spec->name);
      const test::OpCases cases = entry.make();
      for (const Device device : devices_) {
        for (const DType dtype : dtypes_) check(cases, device, dtype);
      }
    }
    if (json_) {
      print_json_summary();
    } else {
      print_summary();
    }
    return failed() == 0 ? kOk : kCheckFailed;
  }

 private:
  void check_options() {
    std::vector<std::string> names;
    for (const test::OperatorCases& entry : test::all_cases()) names.emplace_back(entry.spec->name);
    for (const std::string& op : wanted_) {
      if (std::find(names.begin(), names.end(), op) != names.end()) continue;
      raise<ValueError>("--op: must be an operator, got ", quote(op), "; ", did_you_mean(op, names),
                        "operators: ", join(names));
    }
    const auto once = [](const auto& list, const char* option, const std::string& part) {
      if (std::find(list.begin(), list.end() - 1, list.back()) == list.end() - 1) return;
      raise<ValueError>(option, ": each must stand once; got ", quote(part), " again; leave it out");
    };
    for (const std::string& part : parts_of(device_)) {
      const bool checks = part == kCheckedDevice;
      devices_.push_back(checks ? checked_device() : parse_device(part));
      check_devices_ = check_devices_ || checks;
      once(devices_, "--device", part);
      require_device(devices_.back());
    }
    for (const std::string& part : parts_of(dtype_)) {
      const std::string word = parse_word("--dtype", part, {"f64", "f32", "bf16"});
      for (const DType dtype : kDTypes) {
        if (word == dtype_name(dtype)) dtypes_.push_back(dtype);
      }
      once(dtypes_, "--dtype", part);
    }
  }

  void check(const test::OpCases& cases, Device device, DType dtype) {
    cells_.push_back({static_cast<int>(ops_.size()) - 1, device, dtype});
    bool live = false;  // some case of this operator has a gradient that is not zero
    for (const test::OpCase& c : cases.cases) live |= check_case(c);
    if (live) return;
    ++cells_.back().failed;
    std::fprintf(stderr, "mixgrad: gradcheck: %s has no case with a gradient that could be wrong\n",
                 ops_.back().c_str());
  }

  // Whether some gradient of the case is not zero (and, in f64, sabotage of it was caught).
  bool check_case(const test::OpCase& c) {
    const Cell& cell = cells_.back();
    bool live = false;
    for (const test::GradientRow& row : test::gradient_rows(c, cell.dtype, cell.device)) {
      live |= !row.vacuous && (row.sabotage_caught || cell.dtype != DType::f64);
      if (cell.dtype == DType::f64) {
        if (row.vacuous) ++vacuous_;
        if (row.sabotage_caught) ++caught_;
      }
      note_row({ops_.back(), c.note, "input " + std::to_string(row.input), row.output, row.error, row.pass(),
                row.vacuous && row.pass() ? "(zero)" : row.detail},
               !row.vacuous || cell.dtype != DType::f64);
    }
    return live;
  }

  void note_row(const Row& row, bool counts_for_worst) {
    Cell& cell = cells_.back();
    ++cell.rows;
    if (!row.pass) ++cell.failed;
    if (counts_for_worst) cell.worst = std::max(cell.worst, row.error);
    if (json_) {
      Json object;
      object["op"] = row.op;
      object["case"] = row.note;
      object["input"] = row.output == "all" ? row.input : row.input + " from " + row.output;
      object["device"] = cell.device.str();
      object["dtype"] = dtype_name(cell.dtype);
      object["max_rel_err"] = row.error;
      object["pass"] = row.pass;
      print_json(object);
      return;
    }
    std::printf("%-22s %-44s %-10s %-9s %-11s %9.1e %s%s%s\n", row.op.c_str(), row.note.c_str(), row.input.c_str(),
                row.output.c_str(), column_name(cell.device, cell.dtype).c_str(), row.error, row.pass ? "ok" : "FAIL",
                row.remark.empty() ? "" : " ", row.remark.c_str());
  }

  static std::string column_name(Device device, DType dtype) { return device.str() + " " + dtype_name(dtype); }

  // The columns of the matrix: all dtypes of the devices that ran, and of the CPU and, where this build has it, CUDA.
  std::vector<Device> columns() const {
    std::vector<Device> all = devices_;
    const auto kind_ran = [&](Device::Kind kind) {
      return std::any_of(devices_.begin(), devices_.end(), [&](Device device) { return device.kind == kind; });
    };
    if (!kind_ran(Device::Kind::cpu)) all.push_back(kCpu);
    if (build::has_cuda && !kind_ran(Device::Kind::cuda)) all.push_back({Device::Kind::cuda, 0});
    return all;
  }

  int failed() const {
    int total = 0;
    for (const Cell& cell : cells_) total += cell.failed;
    return total;
  }
  int rows() const {
    int total = 0;
    for (const Cell& cell : cells_) total += cell.rows;
    return total;
  }
  double worst() const {
    double worst = 0;
    for (const Cell& cell : cells_) worst = std::max(worst, cell.worst);
    return worst;
  }

  // The sum over one operator, or over all with op < 0; null where nothing ran.
  std::optional<Cell> sum_of(int op, Device device, DType dtype) const {
    std::optional<Cell> sum;
    for (const Cell& cell : cells_) {
      if ((op >= 0 && cell.op != op) || !(cell.device == device) || cell.dtype != dtype) continue;
      if (!sum) sum = Cell{op, device, dtype};
      sum->rows += cell.rows;
      sum->failed += cell.failed;
      sum->worst = std::max(sum->worst, cell.worst);
    }
    return sum;
  }

  // A line of the matrix: `text` of every cell.
  template <class Text>
  void print_line(const std::string& title, const Text& text) const {
    std::printf("%-22s", title.c_str());
    for (const Device device : columns()) {
      for (const DType dtype : kDTypes) std::printf(" %11s", text(device, dtype).c_str());
    }
    std::printf("\n");
  }

  void print_summary() const {
    std::printf("\nrows that pass, of all; - is not run\n");
    print_line("", [](Device device, DType dtype) { return column_name(device, dtype); });
    const auto counts = [this](int op) {
      return [this, op](Device device, DType dtype) -> std::string {
        const std::optional<Cell> sum = sum_of(op, device, dtype);
        if (!sum) return "-";
        return std::to_string(sum->rows - sum->failed) + "/" + std::to_string(sum->rows);
      };
    };
    for (std::size_t op = 0; op < ops_.size(); ++op) print_line(ops_[op], counts(static_cast<int>(op)));
    print_line("all", counts(-1));
    const auto figure = [](double value) {
      char text[32];
      std::snprintf(text, sizeof text, "%.1e", value);
      return std::string(text);
    };
    print_line("worst error", [&](Device device, DType dtype) {
      const std::optional<Cell> sum = sum_of(-1, device, dtype);
      return sum ? figure(sum->worst) : "-";
    });
    print_line("allowed", [&](Device, DType dtype) { return figure(test::allowed_gradient_error(dtype)); });
    print_what_is_missing();
    std::printf("%s, %s, %d failed, worst error %.1e",
                count_text(static_cast<std::int64_t>(ops_.size()), "operator").c_str(),
                count_text(rows(), "row").c_str(), failed(), worst());
    const int of_f64 = rows_of_f64();
    if (of_f64 > 0) {
      std::printf("; sabotage caught in %d of %s with a gradient in f64 (%d %s identically zero)", caught_,
                  count_text(of_f64 - vacuous_, "row").c_str(), vacuous_, vacuous_ == 1 ? "is" : "are");
    }
    std::printf("\n");
  }

  int rows_of_f64() const {
    int total = 0;
    for (const Device device : devices_) {
      const std::optional<Cell> sum = sum_of(-1, device, DType::f64);
      if (sum) total += sum->rows;
    }
    return total;
  }

  void print_what_is_missing() const {
    const std::size_t all = test::all_cases().size();
    if (ops_.size() < all)
      std::printf("not run: %zu of %s (--op)\n", all - ops_.size(),
                  count_text(static_cast<std::int64_t>(all), "operator").c_str());
    if (dtypes_.size() < std::size(kDTypes)) std::printf("not run: the dtypes with - (--dtype f64,f32,bf16)\n");
    if (!build::has_cuda) std::printf("not run: cuda, which this build does not have (docs/building.md)\n");
    if (columns().size() > devices_.size()) std::printf("not run: the devices with - (--device cpu,cuda)\n");
  }

  void print_json_summary() const {
    Json object;
    object["summary"] = true;
    object["ops"] = ops_.size();
    object["rows"] = rows();
    object["failed"] = failed();
    object["worst"] = worst();
    object["sabotage_caught"] = caught_;
    object["vacuous"] = vacuous_;
    object["matrix"] = Json::array();
    for (std::size_t op = 0; op < ops_.size(); ++op) {
      for (const Device device : columns()) {
        for (const DType dtype : kDTypes) {
          const std::optional<Cell> sum = sum_of(static_cast<int>(op), device, dtype);
          Json cell{{"op", ops_[op]}, {"device", device.str()}, {"dtype", dtype_name(dtype)}};
          cell["rows"] = sum ? sum->rows : 0;
          cell["failed"] = sum ? sum->failed : 0;
          cell["worst"] = sum ? Json(sum->worst) : Json();
          object["matrix"].push_back(cell);
        }
      }
    }
    print_json(object);
  }

  std::vector<std::string> wanted_;  // operators; empty = all
  std::string device_ = "cpu", dtype_ = "f64";
  std::int64_t threads_ = 0;
  bool check_devices_ = false;  // "check" is among the devices
  bool json_ = false;
  std::vector<Device> devices_;
  std::vector<DType> dtypes_;
  std::vector<std::string> ops_;  // that ran
  std::vector<Cell> cells_;
  int vacuous_ = 0, caught_ = 0;
};

}  // namespace

std::unique_ptr<Verb> verbs::gradcheck() { return std::make_unique<Gradcheck>(); }

}  // namespace mixgrad::app
