// Data from stdin: the source "-" becomes a file, so that it can be mapped, read twice, and found again by a resumed
// run.
//
//   TemporaryInput input(options.data, options.source);   // for the time of a command
//   KeptInput input(options.data, options.source, "runs/a");
//   ...
//   input.release();                                      // runs/a/data-from-stdin stays
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "apps/options/source_options.h"

namespace mixgrad::app {

bool names_standard_input(const std::vector<std::string>& sources);

// ValueError for "-" in a job of so many processes: one of them alone has the standard input.
void refuse_standard_input(const std::string& verb, const std::vector<std::string>& sources, int processes);

// A copy in `folder`, which is created; `sources` names it in place of "-". It goes again when the object goes, unless
// it was released. With --field the copy is taken for JSON lines, with --column for a table with commas; else its
// content tells. ValueError: "-" twice, or in --valid. IoError. Ends with Interrupted on a stop request.
class KeptInput {
 public:
  KeptInput(std::vector<std::string>& sources, const SourceOptions& options, std::filesystem::path folder);
  ~KeptInput();
  KeptInput(const KeptInput&) = delete;
  KeptInput& operator=(const KeptInput&) = delete;

  void release() { copy_.clear(); }

 private:
  std::filesystem::path folder_, copy_;
};

// The same in a folder of its own for temporary files, which goes with the object.
class TemporaryInput {
 public:
  TemporaryInput(std::vector<std::string>& sources, const SourceOptions& options);

 private:
  KeptInput kept_;
};

}  // namespace mixgrad::app
