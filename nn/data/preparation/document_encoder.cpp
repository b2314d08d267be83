#include "nn/data/preparation/document_encoder.h"

#include <algorithm>

#include "core/error.h"
#include "core/parallel.h"
#include "core/system/interrupt.h"
#include "core/text/utf8.h"

namespace mixgrad {
namespace {

constexpr std::size_t kWaitingBytes = std::size_t{4} << 20U;   // of documents that are encoded together
constexpr std::size_t kLargeDocument = std::size_t{1} << 20U;  // from here on encoded by itself
constexpr std::size_t kWaitingJobs = 4096;

// Whether a text may be cut between any two characters and encoded in parts.
bool encodes_by_character(const Tokenizer& tokenizer) {
  return tokenizer.byte_ids() != nullptr || !tokenizer.expresses_any_text();
}

}  // namespace

void DocumentEncoder::text(std::string_view piece) {
  if (piece.size() >= kLargeDocument) {
    flush();
    return encode_large(piece);
  }
  if (!open_job_) {
    jobs_.push_back({.text = {}, .source = source_});
    open_job_ = true;
  }
  jobs_.back().text += piece;
  waiting_bytes_ += piece.size();
}

void DocumentEncoder::ids(std::span<const std::int32_t> piece) {
  const auto above =
      std::find_if(piece.begin(), piece.end(), [&](std::int32_t id) { return id >= tokenizer_.vocab_size(); });
  if (above != piece.end()) {
    raise<FormatError>(source_, ": every token must be below the vocabulary of ", tokenizer_.vocab_size(), "; token ",
                       position_ + (above - piece.begin()), " is ", *above, "; give data of that vocabulary");
  }
  position_ += static_cast<std::int64_t>(piece.size());
  output_(piece, false);
}

void DocumentEncoder::end_document() {
  if (!open_job_) return hand_on_end();
  jobs_.back().ends = true;
  open_job_ = false;
  if (waiting_bytes_ >= kWaitingBytes || jobs_.size() >= kWaitingJobs) flush();
}

void DocumentEncoder::hand_on_end() {
  position_ = 0;
  if (document_token_) {
    const std::int32_t token = *document_token_;
    output_(std::span(&token, 1), true);
  } else {
    output_({}, true);
  }
}

void DocumentEncoder::flush() {
  check_interrupt();
  parallel_for(static_cast<std::int64_t>(jobs_.size()), [&](std::int64_t i) {
    Job& job = jobs_[static_cast<std::size_t>(i)];
    try {
      job.ids = tokenizer_.encode(job.text, job.source);
    } catch (...) {
      job.error = std::current_exception();
    }
  });
  for (const Job& job : jobs_) {
    if (job.error) std::rethrow_exception(job.error);
    output_(job.ids, false);
    if (job.ends) hand_on_end();
  }
  jobs_.clear();
  waiting_bytes_ = 0;
  open_job_ = false;
}

void DocumentEncoder::encode_large(std::string_view text) {
  if (!encodes_by_character(tokenizer_)) {
    tokenizer_.encode_into(text, source_, [&](std::span<const std::int32_t> ids, std::size_t bytes) {
      check_interrupt();
      output_(ids, false);
      if (consumed_) consumed_(text.data() + bytes);
    });
    return;
  }
  while (!text.empty()) {
    while (!text.empty() && jobs_.size() < kWaitingBytes / (kLargeDocument / 4)) {
      std::size_t size = std::min(text.size(), kLargeDocument / 4);
      if (size < text.size()) size -= incomplete_suffix(text.substr(0, size));
      if (size == 0) size = std::min(text.size(), kLargeDocument / 4);  // no text: the tokenizer says so
      jobs_.push_back({.text = std::string(text.substr(0, size)), .source = source_});
      text.remove_prefix(size);
    }
    flush();
    if (consumed_) consumed_(text.data());
  }
}

}  // namespace mixgrad
