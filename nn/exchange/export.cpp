#include "nn/exchange/export.h"

#include <algorithm>
#include <cstdio>
#include <system_error>

#include "core/error.h"
#include "nn/exchange/foreign_source.h"
#include "nn/exchange/format.h"
#include "nn/files/folder.h"
#include "nn/files/safetensors.h"
#include "nn/training/checkpoint.h"

namespace mixgrad {
namespace {

namespace fs = std::filesystem;

// "step 2500, validation loss 1.6481" of a generation of a run.
std::string training_of(const fs::path& generation) {
  std::error_code error;
  if (!fs::exists(generation / "trainer.json", error)) return {};
  const TrainerState state = load_trainer_state(generation);
  std::string text = "step " + std::to_string(state.step);
  if (state.best) {
    char loss[64];
    std::snprintf(loss, sizeof loss, "; lowest validation loss %.4f nats a token at step %lld", state.best->val_loss,
                  static_cast<long long>(state.best->step));
    text += loss;
  }
  return text;
}

std::string name_of(const fs::path& checkpoint) {
  const fs::path whole = fs::absolute(checkpoint).lexically_normal();
  return (whole.has_filename() ? whole : whole.parent_path()).filename().string();
}

}  // namespace

ExportReport export_model(const ExportOptions& options) {
  const ExchangeFormat& format = exchange_format(options.format);
  require_free_folder(options.out);
  const Checkpoint checkpoint = load_checkpoint(options.checkpoint, {DType::f32, kCpu});  // checks everything
  const SafetensorsFile weights = SafetensorsFile::open(checkpoint.folder / "model.safetensors");
  ExportReport report{.checkpoint = checkpoint.folder.string(), .config = checkpoint.model->config()};
  report.parameters = checkpoint.model->parameters().count();
  const ModelToExport model{.name = name_of(options.checkpoint),
                            .config = report.config,
                            .read = [&](const std::string& parameter) { return weights.read(parameter); },
                            .tokenizer = checkpoint.tokenizer,
                            .training = training_of(checkpoint.folder)};
  ScratchFolder scratch(options.out, "another mixgrad export");
  report.notes = format.write(model, scratch.path());
  for (const auto& item : fs::directory_iterator(scratch.path())) {
    report.files.push_back(item.path().filename().string());
  }
  std::sort(report.files.begin(), report.files.end());
  scratch.move_into_place();
  return report;
}

}  // namespace mixgrad
