#include "nn/data/documents.h"

#include <algorithm>
#include <cmath>
#include <span>

#include "core/error.h"
#include "core/system/interrupt.h"
#include "core/text/plural.h"
#include "nn/files/file.h"

namespace mixgrad {
namespace {

class DocumentCollector final : public DocumentSink {
 public:
  explicit DocumentCollector(Documents& documents) : documents_(documents) {}

  void set_source(const std::string& source) { source_ = source; }

  void text(std::string_view piece) override { documents_.text += piece; }
  void ids(std::span<const std::int32_t> piece) override {
    for (const std::int32_t id : piece) largest_ = std::max(largest_, id);
    documents_.ids.insert(documents_.ids.end(), piece.begin(), piece.end());
  }
  void end_document() override {
    const std::size_t size = documents_.has_ids() ? documents_.ids.size() : documents_.text.size();
    documents_.ends.push_back(static_cast<std::int64_t>(size));
    documents_.vocabulary = std::max<std::int64_t>(documents_.vocabulary, largest_ + 1);
    check_interrupt();
  }
  void rate(std::int64_t samples_per_second) override {
    if (documents_.rate != 0 && documents_.rate != samples_per_second) {
      raise<FormatError>(source_, ": sound must have one rate; this file has ", samples_per_second,
                         " samples a second, those before it ", documents_.rate, "; convert them to one rate");
    }
    documents_.rate = samples_per_second;
  }

 private:
  Documents& documents_;
  std::string source_;
  std::int32_t largest_ = -1;
};

}  // namespace

std::int64_t Documents::begin(std::int64_t document) const {
  return document == 0 ? 0 : ends[static_cast<std::size_t>(document - 1)];
}

Documents read_documents(const SourceList& list, const ReaderOptions& options) {
  MIXGRAD_ASSERT(!list.files.empty(), "a list of sources has a file");
  Documents documents;
  documents.yields = list.files[0].reader->yields;
  documents.source = list.files[0].path.string();
  if (list.files.size() > 1) {
    documents.source += " and " + count_text(static_cast<std::int64_t>(list.files.size()) - 1, "more file");
  }
  DocumentCollector collector(documents);
  for (const SourceFile& file : list.files) {
    const MappedFile content = MappedFile::open(file.path);
    collector.set_source(file.path.string());
    documents.vocabulary = std::max(documents.vocabulary, file.reader->vocabulary);
    try {
      file.reader->read(content.text(), file.path.string(), options, collector);
    } catch (const Error&) {
      content.require_whole();  // a file that is truncated meanwhile reads as zeros
      throw;
    }
    content.require_whole();
  }
  return documents;
}

EncodedDocuments encode_documents(const Documents& documents, const Tokenizer* tokenizer,
                                  std::optional<std::int32_t> document_token) {
  EncodedDocuments encoded;
  const auto add = [&](std::span<const std::int32_t> ids) {
    encoded.ids.insert(encoded.ids.end(), ids.begin(), ids.end());
  };
  for (std::int64_t d = 0; d < documents.count(); ++d) {
    const auto begin = static_cast<std::size_t>(documents.begin(d));
    const std::size_t size = static_cast<std::size_t>(documents.ends[static_cast<std::size_t>(d)]) - begin;
    if (documents.has_ids()) {
      add(std::span(documents.ids).subspan(begin, size));
    } else {
      tokenizer->encode_into(std::string_view(documents.text).substr(begin, size), documents.source,
                             [&](std::span<const std::int32_t> ids, std::size_t) {
                               check_interrupt();
                               add(ids);
                             });
    }
    if (document_token) encoded.ids.push_back(*document_token);
    encoded.ends.push_back(static_cast<std::int64_t>(encoded.ids.size()));
  }
  return encoded;
}

bool is_validation_document(std::int64_t i, double fraction) {
  const auto at = static_cast<double>(i);
  return std::floor((at + 1) * fraction + 0.5) > std::floor(at * fraction + 0.5);
}

void require_same_kind(const Documents& train, const Documents& valid) {
  if (train.yields != valid.yields) {
    raise<FormatError>(valid.source, ": the validation data must be of the kind of the training data; ", train.source,
                       train.has_ids() ? " holds token ids, this one text" : " holds text, this one token ids",
                       "; give data of the same kind");
  }
  if (train.rate != valid.rate) {
    raise<FormatError>(valid.source, ": sound must have one rate; this one has ", valid.rate, " samples a second, ",
                       train.source, " has ", train.rate, "; convert them to one rate");
  }
}

std::int64_t training_tokens(std::int64_t n, double fraction) {
  constexpr std::int64_t kMillion = 1'000'000;
  const std::int64_t kept = kMillion - std::llround(fraction * kMillion);
  return n / kMillion * kept + n % kMillion * kept / kMillion;
}

SplitDocuments split_documents(const EncodedDocuments& all, double fraction) {
  SplitDocuments split;
  const auto add = [&](EncodedDocuments& part, std::int64_t begin, std::int64_t end) {
    part.ids.insert(part.ids.end(), all.ids.begin() + begin, all.ids.begin() + end);
    part.ends.push_back(static_cast<std::int64_t>(part.ids.size()));
  };
  const auto documents = static_cast<std::int64_t>(all.ends.size());
  std::int64_t begin = 0;
  const std::int64_t cut = training_tokens(static_cast<std::int64_t>(all.ids.size()), fraction);
  for (std::int64_t d = 0; d < documents; ++d) {
    const std::int64_t end = all.ends[static_cast<std::size_t>(d)];
    if (documents >= kDocumentsToSplit) {
      add(is_validation_document(d, fraction) ? split.valid : split.train, begin, end);
    } else {
      if (begin < cut) add(split.train, begin, std::min(end, cut));
      if (end > cut) add(split.valid, std::max(begin, cut), end);
    }
    begin = end;
  }
  return split;
}

}  // namespace mixgrad
