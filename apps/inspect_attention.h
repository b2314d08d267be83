// mixgrad inspect attention: where a trained model looks when it reads a text, one table per kind of mixer.
#pragma once

#include <cstdint>
#include <string>

#include "nn/checkpoint.h"

namespace mixgrad::app {

// Prints to stdout: tables, or with `json` one object a line. ValueError for an empty text or characters outside the
// vocabulary. A text longer than the context is cut into sequences of it; what is left over is not used.
void inspect_attention(const Checkpoint& checkpoint, const std::string& text, std::int64_t window, bool json);

}  // namespace mixgrad::app
