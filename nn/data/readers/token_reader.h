// What the readers of raw token files share.
#pragma once

#include <string>
#include <string_view>

#include "nn/data/readers/reader.h"

namespace mixgrad {

// Little-endian unsigned integers of `width` bytes (1, 2 or 4), one document. FormatError: none, a part of a token at
// the end, or one that is not below 2^31. `first` is the position of `bytes` in the file.
void read_raw_tokens(std::string_view bytes, std::size_t width, const std::string& source, std::size_t first,
                     DocumentSink& sink);

}  // namespace mixgrad
