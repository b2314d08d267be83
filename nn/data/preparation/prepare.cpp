#include "nn/data/preparation/prepare.h"

#include <algorithm>
#include <memory>
#include <utility>

#include "core/error.h"
#include "core/system/interrupt.h"
#include "core/text/parse_number.h"
#include "core/text/suggest.h"
#include "core/text/utf8.h"
#include "nn/data/documents.h"
#include "nn/data/preparation/document_encoder.h"
#include "nn/data/preparation/shard_writer.h"
#include "nn/files/folder.h"
#include "nn/files/hash.h"
#include "nn/tokenizers/char_tokenizer.h"
#include "nn/tokenizers/ids_tokenizer.h"

namespace mixgrad {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kScannedAtOnce = std::size_t{4} << 20U;  // bytes

// What the first reading finds out.
class SourceCounts final : public DocumentSink {
 public:
  enum class Collect : std::uint8_t { nothing, characters, text };

  explicit SourceCounts(Collect collect) : collect_(collect), characters_(kCodePoints) {}

  void text(std::string_view piece) override {
    if (collect_ == Collect::text && sample_.size() < kTokenizerSample) {
      sample_ += piece.substr(0, kTokenizerSample - sample_.size());
    }
    if (collect_ != Collect::characters) return;
    for (std::size_t at = 0; at < piece.size();) {
      if (at >= scanned_ + kScannedAtOnce) scanned_ = poll(piece, at);
      const std::int32_t code = next_code_point(piece, at);
      // The bytes from here on are no UTF-8: what the tokenizer is made from has them too, and it says so.
      if (code < 0) {
        sample_ = piece.substr(at, 8);
        return;
      }
      characters_[static_cast<std::size_t>(code)] = true;
    }
    scanned_ = 0;
  }
  void ids(std::span<const std::int32_t> piece) override {
    for (const std::int32_t id : piece) largest_ = std::max(largest_, id);
  }
  void end_document() override {
    check_interrupt();
    ++documents_;
  }
  void rate(std::int64_t samples_per_second) override {
    if (rate_ != 0 && rate_ != samples_per_second) {
      raise<FormatError>(source_, ": sound must have one rate; this file has ", samples_per_second,
                         " samples a second, those before it ", rate_, "; convert them to one rate");
    }
    rate_ = samples_per_second;
  }

  void begin_file(const std::string& source, std::function<void(const char*)> consumed) {
    source_ = source;
    consumed_ = std::move(consumed);
  }
  std::int64_t documents() const { return documents_; }
  std::int64_t rate() const { return rate_; }
  std::int32_t largest() const { return largest_; }
  // A text from which the tokenizer is made: for characters each of them once.
  std::string text_for_tokenizer() const {
    std::string text;
    for (std::size_t code = 0; code < characters_.size(); ++code) {
      if (characters_[code]) text += utf8_bytes(static_cast<char32_t>(code));
    }
    return text + sample_;
  }

 private:
  std::size_t poll(std::string_view piece, std::size_t at) {
    check_interrupt();
    if (consumed_) consumed_(piece.data() + at);
    return at;
  }

  Collect collect_;
  std::vector<bool> characters_;
  std::string sample_, source_;
  std::function<void(const char*)> consumed_;
  std::size_t scanned_ = 0;
  std::int64_t documents_ = 0, rate_ = 0;
  std::int32_t largest_ = -1;
};

class Preparation {
 public:
  explicit Preparation(const PrepareOptions& options) : options_(options), train_(find_sources(options.spec.sources)) {
    if (options.spec.valid.kind == ValidChoice::Kind::sources) valid_ = find_sources(options.spec.valid.sources);
    if (!valid_.files.empty() && valid_.files[0].reader->yields != train_.files[0].reader->yields) {
      raise<FormatError>(valid_.files[0].path.string(), ": the validation data must be of the kind of the training ",
                         "data, text or token ids; they are of the other; give data of the same kind");
    }
    require_useful_options(options.spec, train_, valid_);
    for (const SourceList* list : {&train_, &valid_}) {
      for (const SourceFile& file : list->files) all_bytes_ += fs::file_size(file.path);
    }
  }

  PreparedManifest run(const fs::path& folder) {
    count();
    choose_tokenizer();
    manifest_.vocab_size = tokenizer_->vocab_size();
    manifest_.width = manifest_.vocab_size <= 65'536 ? 2 : 4;
    const bool by_document = options_.spec.valid.kind == ValidChoice::Kind::fraction && documents_ >= kDocumentsToSplit;
    const bool two = by_document || options_.spec.valid.kind == ValidChoice::Kind::sources;
    ShardWriter first(folder, two ? "train" : "data", manifest_.width, options_.shard_tokens);
    ShardWriter second(folder, "valid", manifest_.width, options_.shard_tokens);
    encode(train_, first, by_document ? &second : nullptr);
    encode(valid_, second, nullptr);
    first.finish();
    second.finish();
    finish(folder, first, second, two);
    return manifest_;
  }

 private:
  bool holds_ids() const { return train_.files[0].reader->yields == Reader::Yields::ids; }

  void count() {
    using Collect = SourceCounts::Collect;
    const bool made = !holds_ids() && options_.known == nullptr && options_.tokenizer != "byte";
    const Collect collect = !made                          ? Collect::nothing
                            : options_.tokenizer == "char" ? Collect::characters
                                                           : Collect::text;
    SourceCounts counts(collect);
    for (const SourceList* list : {&train_, &valid_}) {
      read(*list, PrepareProgress::Pass::counting, counts,
           [&](const std::string& source, auto consumed) { counts.begin_file(source, consumed); });
      if (list == &train_) documents_ = counts.documents();
    }
    manifest_.rate = counts.rate();
    largest_ = counts.largest();
    if (made) tokenizer_text_ = counts.text_for_tokenizer();
  }

  void choose_tokenizer() {
    const DataSpec& spec = options_.spec;
    const std::string source = train_.files[0].path.string();
    const auto number = holds_ids() ? parse_integer(spec.document_token) : std::nullopt;
    if (holds_ids()) {
      std::int64_t vocabulary = std::max<std::int64_t>(largest_ + std::int64_t{1}, number ? *number + 1 : 1);
      for (const SourceFile& file : train_.files) vocabulary = std::max(vocabulary, file.reader->vocabulary);
      tokenizer_ = ids_tokenizer(std::clamp<std::int64_t>(spec.vocab > 0 ? spec.vocab : vocabulary, 1, INT32_MAX));
    } else if (options_.known != nullptr) {
      tokenizer_ = options_.known;
    } else {
      const std::string text = tokenizer_text_ + (options_.tokenizer == "char" ? spec.document_token : "");
      tokenizer_ = make_tokenizer(options_.tokenizer, {.text = text, .source = source});
    }
    tokenizer_text_ = {};
    document_token_ = find_document_token(spec.document_token, holds_ids(), *tokenizer_);
  }

  // Reads all files of a list; `begin` is told the name of each, and what to call with the end of what was read of it.
  template <class Begin>
  void read(const SourceList& list, PrepareProgress::Pass pass, DocumentSink& sink, const Begin& begin) {
    if (&list == &train_) done_ = 0;
    for (const SourceFile& file : list.files) {
      const MappedFile content = MappedFile::open(file.path);
      const auto reached = [&](std::size_t bytes) {
        content.forget(bytes);
        if (options_.progress) options_.progress({pass, done_ + bytes, all_bytes_});
      };
      begin(file.path.string(), [&](const char* end) {
        const char* start = content.text().data();
        if (end >= start && end <= start + content.size()) reached(static_cast<std::size_t>(end - start));
      });
      try {
        file.reader->read(content.text(), file.path.string(), options_.spec.reading, sink);
      } catch (const Error&) {
        content.require_whole();
        throw;
      }
      content.require_whole();
      reached(content.size());
      done_ += content.size();
    }
  }

  void encode(const SourceList& list, ShardWriter& first, ShardWriter* second) {
    std::int64_t document = 0, length = 0;
    DocumentEncoder encoder(*tokenizer_, document_token_, [&](std::span<const std::int32_t> ids, bool ends) {
      const bool validation = second != nullptr && is_validation_document(document, options_.spec.valid.fraction);
      (validation ? *second : first).add(ids);
      length += static_cast<std::int64_t>(ids.size());
      if (!ends) return;
      manifest_.shortest = manifest_.documents == 0 ? length : std::min(manifest_.shortest, length);
      manifest_.longest = std::max(manifest_.longest, length);
      ++manifest_.documents;
      ++document;
      length = 0;
    });
    read(list, PrepareProgress::Pass::encoding, encoder, [&](const std::string& source, auto consumed) {
      encoder.set_source(source);
      encoder.set_consumed(consumed);
    });
    encoder.set_consumed({});
    encoder.flush();
  }

  void finish(const fs::path& folder, const ShardWriter& first, const ShardWriter& second, bool two) {
    manifest_.shards = first.shards();
    manifest_.shards.insert(manifest_.shards.end(), second.shards().begin(), second.shards().end());
    manifest_.tokens = first.tokens() + second.tokens();
    if (manifest_.tokens < 2) {
      raise<FormatError>(train_.files[0].path.string(), ": at least two tokens are required; there ",
                         manifest_.tokens == 0 ? "is none" : "is one", "; give more data");
    }
    manifest_.valid_apart = two;
    manifest_.train_tokens = first.tokens();
    if (!two && options_.spec.valid.kind == ValidChoice::Kind::fraction) {
      manifest_.train_tokens = training_tokens(manifest_.tokens, options_.spec.valid.fraction);
    }
    manifest_.document_token = document_token_;
    manifest_.source_files = static_cast<std::int64_t>(train_.files.size() + valid_.files.size());
    manifest_.source_bytes = static_cast<std::int64_t>(all_bytes_);
    const std::string tokenizer = tokenizer_->to_json();
    manifest_.tokenizer_xxh3 = xxh3_hex(tokenizer);
    write_file_once(folder / "tokenizer.json", tokenizer);
    write_file_once(folder / kManifestName, to_json(manifest_));
  }

  const PrepareOptions& options_;
  SourceList train_, valid_;
  std::uint64_t all_bytes_ = 0, done_ = 0;
  std::int64_t documents_ = 0;  // for training and, where they are split, validation
  std::int32_t largest_ = -1;
  std::string tokenizer_text_;
  TokenizerPtr tokenizer_;
  std::optional<std::int32_t> document_token_;
  PreparedManifest manifest_;
};

}  // namespace

PreparedManifest prepare_data(const PrepareOptions& options) {
  std::error_code error;
  if (fs::exists(fs::symlink_status(options.out, error))) {
    raise<ValueError>("--out ", options.out.string(), ": must not exist; choose another folder, or remove that one ",
                      "(nothing was changed)");
  }
  Preparation preparation(options);  // refuses sources before anything is written
  ScratchFolder scratch(options.out, "another mixgrad data prepare");
  PreparedManifest manifest = preparation.run(scratch.path());
  scratch.move_into_place();
  return manifest;
}

}  // namespace mixgrad
