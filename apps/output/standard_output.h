// Printing to stdout when it may be closed, full or without a reader.
#pragma once

#include "core/error.h"

namespace mixgrad::app {

// What was printed could not be written, for another reason than a reader that is gone.
struct OutputLost : IoError {
  using IoError::IoError;
};

// Descriptors 0 to 2 that the launcher closed are taken, so that no file of ours gets their numbers. Reading from and
// writing to them fails as before. Call it first in main.
void hold_standard_descriptors();

// OutputLost, beginning with `what`, when stdout was closed by the launcher or cannot be written to.
void require_open_stdout(const char* what);

// Whether stdout is not a pipe whose reader has gone.
bool stdout_has_reader();

// Hands what was printed to the system. When that fails: Interrupted{SIGPIPE} (core/system/interrupt.h) when the
// reader has gone (and SIGPIPE is ignored), else OutputLost.
void flush_stdout();

}  // namespace mixgrad::app
