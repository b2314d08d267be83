#include "apps/generation/output_file.h"

#include <filesystem>
#include <utility>

#include "apps/options/option_value.h"
#include "core/error.h"
#include "core/text/suggest.h"
#include "nn/data/prepared.h"
#include "nn/data/sources.h"
#include "nn/files/file.h"
#include "nn/files/generations.h"
#include "nn/training/trainer_state.h"

namespace mixgrad::app {
namespace {

namespace fs = std::filesystem;

// Takes the rate of a file, and nothing else of it.
struct RateSink final : DocumentSink {
  void text(std::string_view) override {}
  void ids(std::span<const std::int32_t>) override { throw *this; }
  void end_document() override {}
  void rate(std::int64_t samples_per_second) override { found = samples_per_second; }
  std::int64_t found = 0;
};

std::int64_t rate_of_source(const std::string& source) {
  if (is_prepared(source)) return read_manifest(source).rate;
  const SourceList list = find_sources({source});
  if (list.files.empty() || list.files[0].reader->name != "wav") return 0;
  RateSink sink;
  const MappedFile file = MappedFile::open(list.files[0].path);
  try {
    list.files[0].reader->read(file.text(), file.path(), {}, sink);
  } catch (const RateSink& stopped) {
    return stopped.found;
  }
  return sink.found;
}

}  // namespace

std::optional<std::int64_t> rate_of_run(const std::string& checkpoint) {
  try {
    const fs::path path = find_generation(checkpoint) / "trainer.json";
    if (!fs::exists(path)) return std::nullopt;
    const TrainerState state = parse_trainer_state(read_text(path), path.string());
    const auto data = state.options.find("data");
    if (data == state.options.end()) return std::nullopt;
    for (const std::string& source : list_of_text("trainer.json: options.data", data->second)) {
      if (const std::int64_t rate = rate_of_source(source); rate > 0) return rate;
    }
  } catch (const Error&) {  // its files are not there any more
  }
  return std::nullopt;
}

OutputFile::OutputFile(std::string path, const Tokenizer& tokenizer, std::size_t count, std::int64_t rate)
    : path_(std::move(path)), writer_(find_writer(path_)), count_(count), rate_(rate) {
  if (writer_ == nullptr) {
    raise<ValueError>("--out ", path_, ": the file's extension must be one of ", writer_extensions(),
                      "; take one of them, or redirect stdout");
  }
  writer_->require_fit("--out " + path_, tokenizer);
}

Prompt OutputFile::start(const Tokenizer& tokenizer) const {
  if (!writer_->start_ids.empty() && writer_->start_ids[0] < tokenizer.vocab_size()) {
    return {tokenizer.decode(writer_->start_ids), writer_->start_ids};
  }
  if (!writer_->start_text.empty()) {
    return {writer_->start_text, encode_typed(tokenizer, writer_->start_text, "--out " + path_)};
  }
  return default_prompt(tokenizer);
}

std::string OutputFile::name(std::size_t number) const {
  if (count_ == 1) return path_;
  fs::path path(path_);
  const std::string extension = path.extension().string();
  return path.replace_extension().string() + "-" + std::to_string(number + 1) + extension;
}

std::string OutputFile::write(std::size_t number, const Continuation& continuation) const {
  const std::string file = name(number);
  const std::string text = continuation.prompt_text() + continuation.text();
  std::vector<std::int32_t> ids = continuation.prompt();
  ids.insert(ids.end(), continuation.ids().begin(), continuation.ids().end());
  write_file_atomic(file, writer_->bytes({.text = text, .ids = ids, .rate = rate_}, "--out " + file));
  return file;
}

}  // namespace mixgrad::app
