// The text that a run was trained on, which its trainer.json names by path and checksum: what a verb reads when it is
// given a checkpoint and no --data.
//
//   const RunText own = text_of_run("eval", "runs/a");
//   TokenData data = with_run_text(own, [&] { return TokenData::open(own.path, tokenizer, Identify::yes); });
//   require_run_text(own, data.text_id().value());
#pragma once

#include <filesystem>
#include <string>

#include "core/error.h"
#include "nn/data/token_data.h"
#include "nn/training/trainer_state.h"

namespace mixgrad::app {

struct RunText {
  std::string run;             // the checkpoint, as it was given
  std::filesystem::path path;  // as trainer.json has it; empty for the shipped text
  TextId id;
};

// ValueError that asks for --data when the checkpoint holds no trainer.json; IoError, FormatError as reading that.
RunText text_of_run(const std::string& verb, const std::filesystem::path& checkpoint);
RunText text_of_run(const std::string& run, const TrainerState& state);

// FormatError when `id` is not that of the run's text.
void require_run_text(const RunText& text, const TextId& id);

// IoError that names the text and --data unless it is a regular file.
void require_regular_text(const RunText& text);
// FormatError unless the file has the content that the run was trained on.
void require_unchanged_text(const RunText& text);

// open(), which opens the text. Whatever is wrong with the text because it is gone or was changed is said as such.
template <class Open>
auto with_run_text(const RunText& text, const Open& open) {
  try {
    return open();
  } catch (const IoError&) {
    require_regular_text(text);
    throw;
  } catch (const Error&) {
    require_unchanged_text(text);
    throw;
  }
}

}  // namespace mixgrad::app
