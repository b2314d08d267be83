// metrics.jsonl of a run that is resumed: its lines up to the step from which the run continues.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

namespace mixgrad {

// Whether the lines after that step are of generations that still exist, so that the file is kept as it was.
enum class LaterLines : std::uint8_t { drop, back_up };

// Copies the lines of `from` up to this step to `to`; both may be the same file. Lines that are not of this program
// (comments, empty, cut, other JSON) are left out, wherever they stand. When the file itself loses such lines, or later
// ones that are to be backed up, it is kept as it was as metrics.jsonl.bak (.bak2, ...). Returns a sentence about that,
// or nothing. Without a file `from` nothing happens.
std::string continue_metrics(const std::filesystem::path& from, const std::filesystem::path& to, std::int64_t last_step,
                             LaterLines later = LaterLines::drop);

}  // namespace mixgrad
