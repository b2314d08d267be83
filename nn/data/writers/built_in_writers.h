// The functions that make the writers of writers.def.
#pragma once

#include "nn/data/writers/writer.h"

namespace mixgrad::built_in {

#define WRITER(kind) Writer kind##_writer();
#include "nn/data/writers/writers.def"
#undef WRITER

}  // namespace mixgrad::built_in
