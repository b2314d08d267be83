// The text that a run was trained on, which its trainer.json names by path and checksum: what a verb reads when it is
// given a checkpoint and no --data.
//
//   const RunText own = text_of_run("eval", "runs/a");
//   TokenData data = with_run_text(own, [&] { return TokenData::open(own.path, tokenizer, Identify::yes); });
//   require_run_text(own, data);
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
  std::string unknown;  // its --unknown; "" = error
};

// ValueError that asks for --data when the checkpoint holds no trainer.json; IoError, FormatError as reading that.
RunText text_of_run(const std::string& verb, const std::filesystem::path& checkpoint);
RunText text_of_run(const std::string& run, const TrainerState& state);

// FormatError when the data, opened with Identify::yes, is not the run's text.
void require_run_text(const RunText& text, const TokenData& data);

// IoError that names the text and --data unless it is a regular file.
void require_regular_text(const RunText& text);
// FormatError unless the file `path` has the content that the run was trained on.
void require_same_text(const RunText& text, const std::filesystem::path& path);

// "my.txt: 12 characters of 3 kinds are not in the vocabulary and are left out: ..."; "" when there are none.
std::string unknown_note(const TokenData& data, const UnknownRule& rule);

// open(), which opens the text. Whatever is wrong with the text because it is gone or was changed is said as such.
template <class Open>
auto with_run_text(const RunText& text, const Open& open) {
  try {
    return open();
  } catch (const IoError&) {
    require_regular_text(text);
    throw;
  } catch (const Error&) {
    if (!text.path.empty()) require_same_text(text, text.path);
    throw;
  }
}

}  // namespace mixgrad::app
