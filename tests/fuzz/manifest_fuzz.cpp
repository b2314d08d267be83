// The manifest of prepared data; what is accepted must come back.
#include "nn/data/prepared.h"
#include "tests/fuzz/fuzz.h"

namespace mixgrad {

void fuzz_one(std::string_view text) {
  const PreparedManifest manifest = parse_manifest(text, "fuzz");
  const std::string written = to_json(manifest);
  MIXGRAD_ASSERT(to_json(parse_manifest(written, "again")) == written, "a manifest is read back as it was");
}

}  // namespace mixgrad
