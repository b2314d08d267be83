#include "apps/run/run_text.h"

#include "nn/files/file.h"
#include "nn/files/generations.h"

namespace mixgrad::app {
namespace {

namespace fs = std::filesystem;

std::string described(const TextId& id) { return std::to_string(id.bytes) + " bytes with the XXH3 " + id.xxh3; }

}  // namespace

RunText text_of_run(const std::string& run, const TrainerState& state) {
  const auto path = state.options.find("data");
  return {run, path == state.options.end() ? fs::path() : fs::path(path->second), {state.text_bytes, state.text_xxh3}};
}

RunText text_of_run(const std::string& verb, const fs::path& checkpoint) {
  const fs::path path = find_generation(checkpoint) / "trainer.json";
  std::error_code error;
  if (!fs::exists(path, error)) {
    raise<ValueError>(verb, ": --data FILE is required: ", checkpoint.string(),
                      " holds a model alone, and no trainer.json that names the text it was trained on");
  }
  return text_of_run(checkpoint.string(), parse_trainer_state(read_text(path), path.string()));
}

void require_run_text(const RunText& text, const TextId& id) {
  if (id == text.id) return;
  raise<FormatError>(text.path.empty() ? "the shipped text" : text.path.string(), ": ", text.run,
                     " was trained on this text when it had ", described(text.id), "; it has ", described(id),
                     " now; give that text with --data FILE");
}

void require_regular_text(const RunText& text) {
  std::error_code error;
  const fs::file_status status = fs::status(text.path, error);
  if (text.path.empty() || fs::is_regular_file(status)) return;
  raise<IoError>(text.run, " was trained on ", text.path.string(), " (", described(text.id), "), which is ",
                 fs::exists(status) ? "not a regular file" : "not there any more", "; give that text with --data FILE");
}

void require_unchanged_text(const RunText& text) {
  if (text.path.empty()) return;
  require_run_text(text, identify_text(text.path));
}

}  // namespace mixgrad::app
