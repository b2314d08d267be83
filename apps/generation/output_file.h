// `generate --out FILE`: what was generated as music or sound that can be played.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "apps/generation/continuation.h"
#include "apps/generation/prompt.h"
#include "nn/data/writers/writer.h"

namespace mixgrad::app {

// Samples a second of the sound that the run was trained on, where that is known and its files are still there.
std::optional<std::int64_t> rate_of_run(const std::string& checkpoint);

class OutputFile {
 public:
  // `count` continuations: of several each has a file of its own, song-1.mid, song-2.mid. ValueError for an extension
  // that names no writer, or for a model of something else.
  OutputFile(std::string path, const Tokenizer& tokenizer, std::size_t count, std::int64_t rate);

  const Writer& writer() const { return *writer_; }
  // What stands before a beginning of this kind, where no prompt is given.
  Prompt start(const Tokenizer& tokenizer) const;
  // Writes the prompt and what follows it; returns the file's name. ValueError when there is nothing to write; IoError.
  std::string write(std::size_t number, const Continuation& continuation) const;

 private:
  std::string name(std::size_t number) const;

  std::string path_;
  const Writer* writer_;
  std::size_t count_;
  std::int64_t rate_;
};

}  // namespace mixgrad::app
