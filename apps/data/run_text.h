// The data that a run was trained on, which its trainer.json names by path and checksum: what a verb reads when it is
// given a checkpoint and no --data.
//
//   const RunText own = text_of_run("eval", "runs/a");
//   own.apply(options);
//   TokenData data = with_run_text(own, [&] { return options.open_data(tokenizer, Identify::yes); });
//   require_run_text(own, data);
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "apps/options/model_options.h"
#include "core/error.h"
#include "nn/data/token_data.h"
#include "nn/training/trainer_state.h"

namespace mixgrad::app {

struct RunText {
  std::string run;                // the checkpoint, as it was given
  std::vector<std::string> data;  // its sources as trainer.json has them; empty for the shipped text
  SourceOptions source;           // how they are read and split
  TextId id;
  std::string unknown;  // its --unknown; "" = error
  std::string task;     // it was trained on, in place of data; "" = on data

  // Makes the sources, and how they are read, those of the run. ValueError that asks for --task when it has a task.
  void apply(ModelOptions& options) const;
};

// ValueError that asks for --data when the checkpoint holds no trainer.json; IoError, FormatError as reading that.
RunText text_of_run(const std::string& verb, const std::filesystem::path& checkpoint);
RunText text_of_run(const std::string& run, const TrainerState& state);

// FormatError when the data, opened with Identify::yes, is not the run's text.
void require_run_text(const RunText& text, const TokenData& data);

// IoError that names a source that is gone, and --data.
void require_present_text(const RunText& text);
// FormatError unless the sources, read as the run read its own, have the content that the run was trained on.
void require_same_text(const RunText& text, const std::vector<std::string>& sources);

// "my.txt: 12 characters of 3 kinds are not in the vocabulary and are left out: ..."; "" when there are none.
std::string unknown_note(const TokenData& data, const UnknownRule& rule);

// open(), which opens the text. Whatever is wrong with the text because it is gone or was changed is said as such.
template <class Open>
auto with_run_text(const RunText& text, const Open& open) {
  try {
    return open();
  } catch (const IoError&) {
    require_present_text(text);
    throw;
  } catch (const Error&) {
    require_present_text(text);
    if (!text.data.empty()) require_same_text(text, text.data);
    throw;
  }
}

}  // namespace mixgrad::app
