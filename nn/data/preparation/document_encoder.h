// Encodes the documents that readers hand on, several at a time on all threads, and passes their ids on in order.
#pragma once

#include <cstdint>
#include <exception>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "nn/data/readers/reader.h"
#include "nn/tokenizers/tokenizer.h"

namespace mixgrad {

class DocumentEncoder final : public DocumentSink {
 public:
  // Receives the ids of documents, many at a time; `ends` after the last ids of a document.
  using Output = std::function<void(std::span<const std::int32_t> ids, bool ends)>;

  DocumentEncoder(const Tokenizer& tokenizer, std::optional<std::int32_t> document_token, Output output)
      : tokenizer_(tokenizer), document_token_(document_token), output_(std::move(output)) {}

  void set_source(const std::string& source) { source_ = source; }
  // Called with the end of what was read of a large text, within the piece that the reader handed on.
  void set_consumed(std::function<void(const char* end)> consumed) { consumed_ = std::move(consumed); }

  void text(std::string_view piece) override;
  // FormatError: an id that is not below the vocabulary.
  void ids(std::span<const std::int32_t> piece) override;
  void end_document() override;
  void flush();  // what waits to be encoded

 private:
  struct Job {
    std::string text, source;
    bool ends = false;
    std::vector<std::int32_t> ids = {};
    std::exception_ptr error = {};
  };

  void encode_large(std::string_view text);
  void hand_on_end();

  const Tokenizer& tokenizer_;
  std::optional<std::int32_t> document_token_;
  Output output_;
  std::function<void(const char* end)> consumed_;
  std::string source_;
  std::vector<Job> jobs_;
  std::size_t waiting_bytes_ = 0;
  bool open_job_ = false;      // the last job is of the document that is being read
  std::int64_t position_ = 0;  // ids of the file so far, for errors
};

}  // namespace mixgrad
