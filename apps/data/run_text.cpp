#include "apps/data/run_text.h"

#include "apps/options/option_value.h"
#include "core/text/plural.h"
#include "core/text/utf8.h"
#include "nn/files/file.h"
#include "nn/files/generations.h"

namespace mixgrad::app {
namespace {

namespace fs = std::filesystem;

std::string described(const TextId& id) {
  return count_text(static_cast<std::int64_t>(id.bytes), "byte") + " with the XXH3 " + id.xxh3;
}

void require_same(const RunText& text, const TextId& id, const std::string& source) {
  if (id == text.id) return;
  raise<FormatError>(source, ": ", text.run, " was trained on a text of ", described(text.id), "; this one has ",
                     described(id), "; give that text with --data FILE");
}

}  // namespace

RunText text_of_run(const std::string& run, const TrainerState& state) {
  const auto data = state.options.find("data");
  const auto unknown = state.options.find("unknown");
  const auto task = state.options.find("task");
  RunText text{.run = run,
               .data = {},
               .source = {},
               .id = {state.text_bytes, state.text_xxh3},
               .unknown = {},
               .task = task == state.options.end() ? "" : task->second};
  if (data != state.options.end()) text.data = list_of_text("trainer.json: options.data", data->second);
  if (unknown != state.options.end()) text.unknown = unknown->second;
  text.source.take_stored(state.options);
  return text;
}

void RunText::apply(ModelOptions& options) const {
  if (!task.empty()) {
    raise<ValueError>(run, ": was trained on the task ", task, ", which has no text; give that task with --task, or a ",
                      "text with --data FILE");
  }
  options.data = data;
  options.source = source;
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

void require_present_text(const RunText& text) {
  for (const std::string& source : text.data) {
    std::error_code error;
    const fs::file_status status = fs::status(source, error);
    const bool folder = source.ends_with('/');
    if (folder ? fs::is_directory(status) : fs::is_regular_file(status) || is_glob(source)) continue;
    const char* other = folder ? "not a folder" : "not a regular file";
    raise<IoError>(text.run, " was trained on ", source, " (", described(text.id), "), which is ",
                   fs::exists(status) ? other : "not there any more", "; give that text with --data FILE");
  }
}

void require_run_text(const RunText& text, const TokenData& data) {
  require_same(text, data.text_id().value(), data.source());
}

void require_same_text(const RunText& text, const std::vector<std::string>& sources) {
  ModelOptions options;
  text.apply(options);
  options.data = sources;
  require_same(text, identify_data(options.data_spec()), sources.front());
}

std::string unknown_note(const TokenData& data, const UnknownRule& rule) {
  const Misfits& misfits = data.misfits();
  if (misfits.empty()) return {};
  const bool one = misfits.count == 1;
  const std::string fate = rule.action == UnknownRule::Action::skip
                               ? (one ? "is left out" : "are left out")
                               : (one ? "is replaced by " : "are replaced by ") + show_code_point(rule.replacement);
  return data.source() + ": " + count_text(misfits.count, "character") + " of " +
         count_text(static_cast<std::int64_t>(misfits.kinds.size()), "kind") + (one ? " is" : " are") +
         " not in the vocabulary and " + fate + ": " + misfits.list();
}

}  // namespace mixgrad::app
