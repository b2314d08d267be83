// The readers, declared from their list: one that is not listed does not compile, and one whose file is missing does
// not link.
#pragma once

#include "nn/data/readers/reader.h"

namespace mixgrad::built_in {

#define READER(name) Reader name##_reader();
#include "nn/data/readers/readers.def"
#undef READER

}  // namespace mixgrad::built_in
