// Encodes the parts of a text several at a time and hands their ids on in order. The ids do not depend on the number of
// threads.
#pragma once

#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "nn/tokenizers/tokenizer.h"

namespace mixgrad {

// Encodes parts one after the other. What it remembers between parts must change no result.
class PartEncoder {
 public:
  virtual ~PartEncoder() = default;
  // Appends the ids. `at_start`: the part is the beginning of the whole text.
  virtual void encode(std::string_view part, bool at_start, std::vector<std::int32_t>& ids) = 0;
};

class BatchEncoder {
 public:
  // `make` is called for each thread that helps.
  BatchEncoder(std::function<std::unique_ptr<PartEncoder>()> make, const TokenSink& sink)
      : make_(std::move(make)), sink_(sink) {}

  // `done` bytes of the text are encoded when this part is; it never falls. `keep` holds the part until then, unless
  // the caller does.
  void add_text(std::string_view part, bool at_start, std::size_t done, std::shared_ptr<const std::string> keep = {});
  void add_id(std::int32_t id, std::size_t done);
  // The ids of a part that the caller has encoded.
  void add_ids(std::vector<std::int32_t> ids, std::size_t done);
  // Encodes what was added and hands it on. An exception of a part comes out when the parts before it are handed on.
  void flush();
  // The end: nothing is added any more.
  void finish();

 private:
  struct Job {
    std::string_view part;
    bool at_start = false;
    std::size_t done = 0;
    std::shared_ptr<const std::string> keep = {};
    std::vector<std::int32_t> ids = {};
    std::exception_ptr error = {};
  };
  void add(Job job);
  void run(Job& job);
  void hand_on(const Job& job);

  std::function<std::unique_ptr<PartEncoder>()> make_;
  const TokenSink& sink_;
  std::vector<Job> jobs_;
  std::size_t waiting_bytes_ = 0;  // of jobs_
  std::vector<std::int32_t> ids_;  // not yet handed on, up to done_
  std::size_t done_ = 0, told_ = 0;
  std::mutex mutex_;
  std::vector<std::unique_ptr<PartEncoder>> free_;  // encoders that no thread uses
};

// Adds a text in parts that are cut where no word crosses (next_word_boundary). It is what became of the `bytes` bytes
// of the whole text from `begin` on.
void add_in_parts(BatchEncoder& batch, std::string_view text, bool at_start, std::size_t begin, std::size_t bytes,
                  const std::shared_ptr<const std::string>& keep = {});

}  // namespace mixgrad
