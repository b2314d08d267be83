// The header and every tensor of a safetensors file.
#include "nn/files/safetensors.h"

#include "tests/fuzz/fuzz.h"

namespace mixgrad {

void fuzz_one(std::string_view text) {
  try {
    const SafetensorsFile foreign = SafetensorsFile::parse(MappedFile::of(text, "fuzz"), SafetensorsTypes::any);
    for (const std::string& name : foreign.names()) foreign.read(name);
  } catch (const Error&) {
  }
  const SafetensorsFile file = SafetensorsFile::parse(MappedFile::of(text, "fuzz"));
  for (const std::string& name : file.names()) file.read(name);
  if (file.has("w")) file.read_as("w", {2, 3}, DType::f64);
}

}  // namespace mixgrad
