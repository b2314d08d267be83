// model.safetensors.index.json; what is accepted names files in the same folder.
#include <algorithm>

#include "nn/exchange/hugging_face/weight_files.h"
#include "tests/fuzz/fuzz.h"

namespace mixgrad {

void fuzz_one(std::string_view text) {
  const std::map<std::string, std::string> files = read_weight_index(text, "fuzz");
  MIXGRAD_ASSERT(!files.empty(), "an index names tensors");
  for (const auto& item : files) {
    MIXGRAD_ASSERT(item.second.find('/') == std::string::npos && item.second != "..", "no name leaves the folder");
  }
}

}  // namespace mixgrad
