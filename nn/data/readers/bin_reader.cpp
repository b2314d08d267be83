// Token files named .bin: those of llm.c (github.com/karpathy/llm.c), a header of 256 32-bit numbers (magic, version,
// count of tokens, then zeros) before the tokens, of 16 bits for GPT-2 (magic 20240520, version 1) and of 32 bits for
// Llama 3 (magic 20240801, version 7); and those of nanoGPT, 16-bit tokens without a header.
#include <array>
#include <cstdint>

#include "core/error.h"
#include "nn/data/readers/built_in_readers.h"
#include "nn/data/readers/byte_reader.h"
#include "nn/data/readers/token_reader.h"

namespace mixgrad {
namespace {

struct LlmcForm {
  std::int32_t magic, version;
  std::size_t width;
};
constexpr std::array kLlmcForms{LlmcForm{20240520, 1, 2}, LlmcForm{20240801, 7, 4}};
constexpr std::size_t kLlmcHeader = 1024;  // bytes

const LlmcForm* llmc_form(std::string_view content) {
  if (content.size() < sizeof(std::int32_t)) return nullptr;
  const auto magic = ByteReader::number<std::int32_t>(content, false);
  for (const LlmcForm& form : kLlmcForms) {
    if (form.magic == magic) return &form;
  }
  return nullptr;
}

void read_llmc(const LlmcForm& form, std::string_view content, const std::string& source, DocumentSink& sink) {
  ByteReader bytes(content, source);
  bytes.take(sizeof(std::int32_t), "the magic number");
  const auto version = bytes.little<std::int32_t>("the version");
  if (version != form.version) {
    raise<FormatError>(source, ": a token file of llm.c with the magic number ", form.magic, " must have version ",
                       form.version, "; it has ", version, "; write it with the current llm.c");
  }
  const auto count = bytes.little<std::int32_t>("the count of tokens");
  bytes.take(kLlmcHeader - bytes.position(), "the header of llm.c");
  const std::size_t found = bytes.left() / form.width;
  if (count < 0 || static_cast<std::size_t>(count) != found || bytes.left() % form.width != 0) {
    raise<FormatError>(source, ": the header promises ", count, " tokens of ", form.width, " bytes; ", bytes.left(),
                       " bytes follow; the file is truncated or damaged: fetch or write it again");
  }
  read_raw_tokens(content.substr(kLlmcHeader), form.width, source, kLlmcHeader, sink);
}

void read_bin(std::string_view content, const std::string& source, const ReaderOptions&, DocumentSink& sink) {
  if (const LlmcForm* form = llmc_form(content)) return read_llmc(*form, content, source, sink);
  read_raw_tokens(content, 2, source, 0, sink);
}

}  // namespace

Reader built_in::bin_reader() {
  return {.name = "bin",
          .what = "tokens of nanoGPT or llm.c",
          .extensions = {".bin"},
          .yields = Reader::Yields::ids,
          .recognises = [](std::string_view content) { return llmc_form(content) != nullptr; },
          .read = read_bin};
}

}  // namespace mixgrad
