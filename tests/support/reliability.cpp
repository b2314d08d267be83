#include "tests/support/reliability.h"

#include "nn/files/generations.h"
#include "nn/training/checkpoint.h"
#include "nn/training/optimizers/adamw.h"

namespace mixgrad::test {

Arguments tiny_run(const TempFolder& folder, const std::string& name, const std::string& options) {
  if (!std::filesystem::exists(folder / "text.txt")) folder.put("text.txt", small_text());
  Arguments all = words("train --json --log-every 1" + kTiny + options);
  all.insert(all.end(), {"--data", (folder / "text.txt").string(), "--out", (folder / name).string()});
  return last_of_each(all);
}

Arguments resumption(const std::filesystem::path& run, const std::string& options) {
  Arguments all = words("train --json --threads 1 " + options);
  all.insert(all.end(), {"--resume", run.string()});
  return last_of_each(all);
}

bool goes_on(Process& process, const std::filesystem::path& run) {
  const auto lines = [&] { return lines_of(TempFolder::get(run / "metrics.jsonl")).size(); };
  const std::size_t before = lines();
  return wait_until([&] { return lines() >= before + 20; }) && process.wait(0).code == kTimedOut;
}

std::string unreadable(const std::filesystem::path& generation) {
  try {
    const Checkpoint checkpoint = load_checkpoint(generation, DType::f32);
    const TrainerState state = load_trainer_state(generation);
    AdamW optimizer(checkpoint.model->parameters(), {});
    load_optimizer(generation, state, optimizer);
    if (generation_name(state.step) != generation.filename()) return "holds step " + std::to_string(state.step);
    return {};
  } catch (const Error& error) {
    return error.what();
  }
}

std::string damage(const std::filesystem::path& run) {
  std::error_code error;
  const std::filesystem::path latest = std::filesystem::read_symlink(run / "latest", error);
  const auto steps = generations(run);
  bool found = error && steps.size() == 1;  // killed between the two renames of the first save
  if (error && steps.empty()) return {};
  for (const std::int64_t step : steps) {
    const std::string why = unreadable(run / generation_name(step));
    if (!why.empty()) return why;
    found = found || generation_name(step) == latest;
  }
  return found ? "" : "latest points to nothing";
}

std::string saved_steps(const std::filesystem::path& run) {
  std::string text;
  for (const std::int64_t step : generations(run)) text += (text.empty() ? "" : " ") + std::to_string(step);
  return text;
}

std::string weights_of(const std::filesystem::path& run) {
  return TempFolder::get(run / "latest/model.safetensors") + TempFolder::get(run / "latest/optimizer.safetensors");
}

std::string metrics_of(const std::filesystem::path& run) {
  std::string text;
  for (Json line : json_lines(TempFolder::get(run / "metrics.jsonl"))) {
    line["tokens_per_s"] = 0;
    text += line.dump() + "\n";
  }
  return text;
}

}  // namespace mixgrad::test
