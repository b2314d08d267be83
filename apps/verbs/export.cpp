// mixgrad export: a model of this program for another one.
#include "nn/exchange/export.h"

#include <cstdio>

#include "apps/output/table.h"
#include "apps/verbs/verbs.h"
#include "core/error.h"
#include "core/text/suggest.h"
#include "nn/exchange/format.h"
#include "nn/files/strict_json.h"

namespace mixgrad::app {
namespace {

class Export : public Verb {
 public:
  std::string summary() const override { return "Write a model for another program"; }
  std::string example() const override { return "mixgrad export runs/char --format llama2c --out char-c"; }

  void declare(OptionSet& options) override {
    options.add_files("DIR", checkpoints_, "Folder of a run, or one generation of it");
    std::string what;
    for (const ExchangeFormat& format : exchange_formats()) {
      what += (what.empty() ? "" : "; ") + format.name + ": " + format.summary;
    }
    options.add("format", format_, exchange_format_names(), what);
    options.add("out", out_, "Folder for the files, which must not exist or be empty",
                {.value = "DIR", .not_empty = true});
    options.add_flag("json", json_, "One JSON object on stdout");
  }

  int run() override {
    if (checkpoints_.size() != 1) raise<ValueError>("export: one DIR is required; got ", checkpoints_.size());
    if (out_.empty()) raise<ValueError>("export: --out DIR is required: the folder for the files");
    print(export_model({.checkpoint = checkpoints_[0], .format = format_, .out = out_}));
    return kOk;
  }

 private:
  void print(const ExportReport& report) const {
    const auto number = [](std::int64_t value) { return std::to_string(value); };
    print_figures(
        format_of(json_),
        {{.key = "checkpoint",
          .value = json_text(report.checkpoint),
          .label = "checkpoint",
          .text = report.checkpoint,
          .number = false},
         {.key = "format", .value = format_, .label = "format", .text = format_, .number = false},
         {.key = "parameters",
          .value = report.parameters,
          .label = "parameters",
          .text = number(report.parameters),
          .number = false},
         {.key = "files", .value = report.files, .label = "files", .text = join(report.files), .number = false},
         {.key = "notes", .value = report.notes, .label = "", .text = "", .shown = ShownIn::json},
         {.key = "out", .value = json_text(out_), .label = "written to", .text = out_, .number = false}});
    if (json_) return;
    for (const std::string& note : report.notes) std::printf("- %s\n", note.c_str());
  }

  std::vector<std::string> checkpoints_;
  std::string format_ = exchange_format_names().front(), out_;
  bool json_ = false;
};

}  // namespace

std::unique_ptr<Verb> verbs::export_model() { return std::make_unique<Export>(); }

}  // namespace mixgrad::app
