// What import and export say about paths that they cannot take.
#pragma once

#include <filesystem>

namespace mixgrad {

// FormatError for a source of no known format: a pickle of PyTorch, with the two lines of Python that convert it, GGUF,
// a lone .safetensors, a folder without what it needs, a model of mixgrad itself.
[[noreturn]] void refuse_source(const std::filesystem::path& source);

// ValueError unless nothing or an empty folder stands there.
void require_free_folder(const std::filesystem::path& out);

}  // namespace mixgrad
