#include "nn/tokenizers/byte_pairs/batch_encoder.h"

#include <algorithm>

#include "core/parallel.h"
#include "nn/tokenizers/byte_pairs/split_pattern.h"

namespace mixgrad {
namespace {

constexpr std::size_t kPartBytes = std::size_t{1} << 18U;

}  // namespace

void BatchEncoder::add_text(std::string_view part, bool at_start, std::size_t done,
                            std::shared_ptr<const std::string> keep) {
  add({.part = part, .at_start = at_start, .done = done, .keep = std::move(keep)});
}

void BatchEncoder::add_id(std::int32_t id, std::size_t done) { add_ids({id}, done); }

void BatchEncoder::add_ids(std::vector<std::int32_t> ids, std::size_t done) {
  add({.part = {}, .done = done, .ids = std::move(ids)});
}

void BatchEncoder::add(Job job) {
  constexpr std::size_t kMostJobs = 4096;
  waiting_bytes_ += job.part.size();
  jobs_.push_back(std::move(job));
  if (jobs_.size() >= kMostJobs || waiting_bytes_ >= 4 * kPartBytes * static_cast<std::size_t>(threads())) flush();
}

void BatchEncoder::run(Job& job) {
  std::unique_ptr<PartEncoder> encoder;
  try {
    {
      const std::lock_guard lock(mutex_);
      if (!free_.empty()) {
        encoder = std::move(free_.back());
        free_.pop_back();
      }
    }
    if (encoder == nullptr) encoder = make_();
    encoder->encode(job.part, job.at_start, job.ids);
    const std::lock_guard lock(mutex_);
    free_.push_back(std::move(encoder));
  } catch (...) {  // must not leave a thread of the team
    job.error = std::current_exception();
  }
}

void BatchEncoder::hand_on(const Job& job) {
  ids_.insert(ids_.end(), job.ids.begin(), job.ids.end());
  done_ = std::max(done_, job.done);
  constexpr std::size_t kFew = 4096;
  if (ids_.size() < kFew || done_ == told_) return;
  sink_(ids_, done_);
  told_ = done_;
  ids_.clear();
}

void BatchEncoder::flush() {
  std::vector<Job*> parts;
  for (Job& job : jobs_) {
    if (!job.part.empty()) parts.push_back(&job);
  }
  parallel_for(static_cast<std::int64_t>(parts.size()),
               [&](std::int64_t i) { run(*parts[static_cast<std::size_t>(i)]); });
  for (const Job& job : jobs_) {
    if (job.error) std::rethrow_exception(job.error);
    hand_on(job);
  }
  jobs_.clear();
  waiting_bytes_ = 0;
}

void BatchEncoder::finish() {
  flush();
  if (!ids_.empty()) sink_(ids_, done_);
  ids_.clear();
}

void add_in_parts(BatchEncoder& batch, std::string_view text, bool at_start, std::size_t begin, std::size_t bytes,
                  const std::shared_ptr<const std::string>& keep) {
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = next_word_boundary(text, std::min(at + kPartBytes, text.size()));
    const double share = static_cast<double>(end) / static_cast<double>(text.size());
    const std::size_t done = end == text.size() ? bytes
                             : text.size() == bytes
                                 ? end
                                 : std::min(bytes - 1, static_cast<std::size_t>(share * static_cast<double>(bytes)));
    batch.add_text(text.substr(at, end - at), at_start && at == 0, begin + done, keep);
    at = end;
  }
}

}  // namespace mixgrad
