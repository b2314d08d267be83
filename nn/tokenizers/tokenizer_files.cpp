#include "nn/tokenizers/tokenizer_files.h"

#include <optional>
#include <system_error>

#include "core/error.h"
#include "nn/files/file.h"
#include "nn/files/generations.h"
#include "nn/tokenizers/hugging_face/hugging_face_tokenizer.h"
#include "nn/tokenizers/llama2c_tokenizer.h"
#include "nn/tokenizers/tokenizer_types.h"

namespace mixgrad {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kMostBytes = std::size_t{256} << 20U;

bool is_json(std::string_view text) {
  const std::size_t first = text.find_first_not_of(" \t\r\n");
  return first != std::string_view::npos && text[first] == '{';
}

TokenizerPtr open_file(const fs::path& path) {
  const std::string content = read_text(path, kMostBytes, Pipes::wait);
  if (is_json(content)) return load_tokenizer(content, path.string());
  if (begins_llama2c(content)) return read_llama2c(content, path.string());
  raise<FormatError>(
      path.string(),
      ": a tokenizer must be a tokenizer.json or a llama2.c tokenizer.bin; this file begins like neither; ",
      "check that it is the right file");
}

// GPT-2's two files under either of their names; nullptr when the folder has neither pair.
TokenizerPtr open_gpt2(const fs::path& folder) {
  constexpr const char* kNames[][2] = {{"vocab.json", "merges.txt"}, {"gpt2_vocab.json", "gpt2_merges.bpe"}};
  std::error_code error;
  for (const auto& [vocab, merges] : kNames) {
    const bool has_vocab = fs::exists(folder / vocab, error);
    if (!has_vocab && !fs::exists(folder / merges, error)) continue;
    const fs::path missing = folder / (has_vocab ? merges : vocab);
    if (!fs::exists(missing, error)) {
      raise<FormatError>(folder.string(), ": a folder with ", has_vocab ? vocab : merges, " must hold ",
                         missing.filename().string(), " as well; it is missing; add it");
    }
    const std::string json =
        gpt2_tokenizer_json(read_text(folder / vocab, kMostBytes), read_text(folder / merges, kMostBytes),
                            (folder / vocab).string(), (folder / merges).string());
    return load_tokenizer(json, folder.string());
  }
  return nullptr;
}

}  // namespace

TokenizerPtr open_tokenizer(const fs::path& path) {
  std::error_code error;
  if (!fs::is_directory(path, error)) {
    const std::optional<fs::path> generation = generation_named_by_link(path);
    return open_file(generation ? *generation / "tokenizer.json" : path);
  }
  if (fs::exists(path / "tokenizer.json", error)) return open_file(path / "tokenizer.json");
  if (TokenizerPtr gpt2 = open_gpt2(path)) return gpt2;
  fs::path generation;
  try {
    generation = find_generation(path);
  } catch (const IoError&) {
    raise<FormatError>(
        path.string(),
        ": a folder with a tokenizer must hold tokenizer.json, or vocab.json and merges.txt, or be a run; ",
        "it is none of these; check that it is the right folder");
  }
  return open_file(generation / "tokenizer.json");
}

}  // namespace mixgrad
