// A text as a sequence of tokens, for training and evaluation.
//
//   const TokenData data = TokenData::open("my.txt", tokenizer_type("char"));
//   data.sample_batch(rng, tokens, targets);
//   const EvalWindows windows(data, data.valid(), context);
//
// The first floor(0.9 n) tokens are for training, the rest is the validation split; other splits, and data of several
// files: nn/data/data_set.h. When every token is one byte (the
// byte tokenizer, or an ASCII vocabulary) the file stays mapped and ids are looked up when they are read; otherwise the
// text is encoded once into memory, two or four bytes a token. A byte order mark at the start of the file is no part of
// the text.
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/rng.h"
#include "core/tensor.h"
#include "nn/data/batch_stream.h"
#include "nn/data/token_shards.h"
#include "nn/files/file.h"
#include "nn/tokenizers/misfits.h"
#include "nn/tokenizers/tokenizer_types.h"

namespace mixgrad {

// Tokens [begin, end).
struct TokenRange {
  std::int64_t begin = 0;
  std::int64_t end = 0;
  std::int64_t size() const { return end - begin; }
  friend bool operator==(const TokenRange&, const TokenRange&) = default;
};

// Identifies the content of a text.
struct TextId {
  std::uint64_t bytes = 0;
  std::string xxh3;
  friend bool operator==(const TextId&, const TextId&) = default;
};

// Of a whole file, as TokenData::open identifies it: without the byte order mark. IoError as MappedFile::open.
TextId identify_text(const std::filesystem::path& path);

// Whether text_id() is computed while the text is read. Without it a text of one-byte tokens may not be read at all.
enum class Identify : std::uint8_t { no, yes };

// How batches are drawn: windows that begin anywhere, with replacement; or windows side by side, each once an epoch.
enum class Sampling : std::uint8_t { random, shuffle };

// The counter of the random numbers with which a run draws its first batch; no parameter's draw uses it or those above.
inline constexpr std::uint64_t kFirstDraw = std::uint64_t{1} << 63U;

// Reading a long text ends with Interrupted (core/system/interrupt.h) when a stop is requested.
class TokenData final : public BatchStream {
  friend class EvalWindows;

 public:
  // Each reads the text once; a tokenizer that is made from a text whose characters are not all one byte reads it a
  // second time, to encode it.
  // FormatError: fewer than two tokens, or a text that the tokenizer cannot read (char: not UTF-8). ValueError: a part
  // of the text is outside the vocabulary (with its position). IoError: the file cannot be read.
  // With a rule other than `refuse` for unknown characters the text is the one without them, or with the replacement;
  // when there are any, that text is held in memory. text_id() is that of the file all the same.
  static TokenData open(const std::filesystem::path& path, TokenizerPtr tokenizer, Identify identify = Identify::no,
                        const UnknownRule& unknown = {});
  // With a tokenizer made from the file.
  static TokenData open(const std::filesystem::path& path, const TokenizerType& type, Identify identify = Identify::no);
  // Ids that are known, the first `train` of them for training. FormatError: fewer than two.
  struct KnownIds {
    std::vector<std::int32_t> ids = {};
    std::int64_t train = 0;
    bool valid_apart = false;  // the validation part does not continue the training part
    std::string source = {};
    std::optional<TextId> id = {};
    Misfits misfits = {};
  };
  static TokenData from_ids(KnownIds known, TokenizerPtr tokenizer);
  // The same, of ids in mapped files; `known` has none itself.
  static TokenData from_shards(TokenShards shards, KnownIds known, TokenizerPtr tokenizer);
  static TokenData from_text(std::string text, TokenizerPtr tokenizer, const std::string& source = "text");

  std::int64_t size() const { return size_; }  // tokens
  TokenRange all() const { return {0, size_}; }
  TokenRange train() const { return {0, train_size()}; }
  TokenRange valid() const { return {train_size(), size_}; }
  // Tokens of the range that have a predecessor in it or before it: not the first of all, nor the first of a validation
  // part that stands apart.
  TokenRange targets(TokenRange range) const;
  // "train", "valid" or "all"; ValueError for another name.
  TokenRange split(std::string_view name) const;
  const Tokenizer& tokenizer() const { return *tokenizer_; }
  const TokenizerPtr& tokenizer_ptr() const { return tokenizer_; }
  const std::string& source() const { return source_; }
  const std::optional<TextId>& text_id() const { return text_id_; }  // of a file opened with Identify::yes
  const Misfits& misfits() const { return misfits_; }                // what was left out or replaced

  std::int64_t byte_count(TokenRange range) const;  // bytes of text that the tokens stand for

  // Copies tokens [begin, begin + count) to out. Allocates nothing.
  void gather(std::int64_t begin, std::int64_t count, std::int32_t* out) const;

  // ValueError when the training part has no window of context + 1 tokens.
  void check_context(std::int64_t context) const override;
  const TokenData* text() const override { return this; }

  // How batches are drawn from here on; `random` at first.
  void set_sampling(Sampling sampling) { sampling_ = sampling; }
  Sampling sampling() const { return sampling_; }

  // From here on training and evaluation cut windows where this token stands (nn/data/document_rows.h).
  void set_document_start(std::int32_t token) { document_start_ = token; }
  std::optional<std::int32_t> document_start() const override { return document_start_; }

  // Windows of the training part: row b gets tokens [s, s+T) and, as targets, [s+1, s+T+1). Of `random`, s is uniform;
  // of `shuffle` it is that of position rng.counter() - kFirstDraw + b (nn/data/shuffle.h).
  //   tokens, targets: [B,T] i32, contiguous. Draws B numbers from rng, allocates nothing.
  // ShapeError, DTypeError for other tensors; ValueError as check_context(T). IoError, as for every batch of
  // EvalWindows, when somebody has overwritten a mapped file that was opened with Identify::yes with another content;
  // more text at its end and a rename over it change nothing. After a write the whole text is hashed. Where that
  // takes more than a millisecond it takes at most a fiftieth of the time: another content may be seen some batches
  // later.
  void sample_batch(Rng& rng, const Tensor& tokens, const Tensor& targets) const override;

 private:
  class Pass;

  TokenData() = default;
  std::int64_t train_size() const { return train_ >= 0 ? train_ : size_ / 10 * 9 + size_ % 10 * 9 / 10; }
  std::string_view content() const;  // of the text, without the byte order mark
  void map(const std::filesystem::path& path);
  template <class Read>
  void read_whole(const Read& read);
  void index(Pass& pass);
  void fit(const UnknownRule& rule, Pass& pass);
  void check_bytes(const std::array<std::int32_t, 256>& ids, Pass& pass) const;
  void encode(Pass& pass);
  void require_two_tokens() const;

  void require_same_content() const;

  TokenizerPtr tokenizer_;
  std::string source_;
  MappedFile file_;
  std::size_t mark_bytes_ = 0;  // of the byte order mark of file_
  std::string text_;
  std::vector<std::uint16_t> narrow_;  // ids when the vocabulary has at most 65536
  std::vector<std::int32_t> wide_;     // ids otherwise
  std::optional<TokenShards> shards_;  // or ids in files
  std::int64_t size_ = 0;
  std::int64_t train_ = -1;  // tokens for training; -1: nine tenths
  bool valid_apart_ = false;
  Sampling sampling_ = Sampling::random;
  std::optional<std::int32_t> document_start_;
  std::optional<TextId> text_id_;
  Misfits misfits_;
  // Of a file that stays mapped: the last write up to which its content is known to be the identified one, and the time
  // before which a later write is not looked into, in seconds of a steady clock.
  mutable std::int64_t checked_write_ = 0;
  mutable double next_check_ = 0;
};

// Windows of T = context tokens in which every token of a range is a target exactly once. The inputs
// start one token before the range, so that a split is predicted from its first token on; the first token of the file,
// and of a validation part that stands apart, has no predecessor and is no target. The windows lie side by side, or,
// with a stride S below T, begin S tokens apart: then only what no window before has predicted is a target, so that
// from the second window on each target has at least T - S tokens before it. The last window is padded with token 0 and
// target -1. Keeps a reference to the data.
class EvalWindows {
 public:
  // stride 0 is the context. ValueError: context < 1, a stride above it, or a range without a target.
  EvalWindows(const TokenData& data, TokenRange range, std::int64_t context, std::int64_t stride = 0);

  std::int64_t count() const {  // windows
    return targets_.size() <= context_ ? 1 : (targets_.size() - context_ - 1) / stride_ + 2;
  }
  std::int64_t target_count() const { return targets_.size(); }
  std::int64_t target_bytes() const { return data_.byte_count(targets_); }  // for bits per byte
  std::int64_t context() const { return context_; }
  // The tokens of the data that the inputs of a window predict, of which those that are targets come last.
  TokenRange predicted(std::int64_t window) const;
  std::int64_t batches(std::int64_t batch) const;  // how often `fill` must be called for B = batch >= 1

  // Windows first .. first + B - 1 into tokens, targets: [B,T] i32; rows past the last window get token 0, target -1.
  // Returns the number of targets that are not -1. Allocates nothing.
  std::int64_t fill(std::int64_t first, const Tensor& tokens, const Tensor& targets) const;

 private:
  const TokenData& data_;
  TokenRange targets_;
  std::int64_t context_, stride_;
};

}  // namespace mixgrad
