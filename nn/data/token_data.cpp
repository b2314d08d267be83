#include "nn/data/token_data.h"

#include <algorithm>
#include <utility>

#include "core/error.h"
#include "core/system/interrupt.h"
#include "core/text/suggest.h"
#include "nn/files/hash.h"

namespace mixgrad {
namespace {

constexpr std::int64_t kNarrowVocab = 65536;
constexpr std::size_t kPiece = std::size_t{1} << 20U;  // bytes of text between two looks at the wish to stop

void check_batch(const char* op, const Tensor& tokens, const Tensor& targets) {
  const bool same = tokens.defined() && targets.defined() && tokens.shape() == targets.shape();
  if (!same || tokens.shape().rank() != 2 || !tokens.is_contiguous() || !targets.is_contiguous()) {
    raise<ShapeError>(op, ": tokens and targets must be two contiguous tensors [B,T]; got ", tokens.shape(), " and ",
                      targets.shape(), "; make both of the same shape");
  }
}

}  // namespace

TextId identify_text(const std::filesystem::path& path) {
  const MappedFile file = MappedFile::open(path);
  Xxh3 hash;
  for (std::size_t at = 0; at < file.size(); at += kPiece) {
    check_interrupt();
    const std::string_view piece = file.text().substr(at, kPiece);
    hash.add(piece.data(), piece.size());
  }
  file.require_whole();
  return {file.size(), hash.hex()};
}

TokenData TokenData::open(const std::filesystem::path& path, const Tokenizer& tokenizer) {
  return from_file(MappedFile::open(path), tokenizer);
}

TokenData TokenData::from_file(MappedFile file, const Tokenizer& tokenizer) {
  TokenData data(tokenizer);
  data.source_ = file.path();
  data.file_ = std::move(file);
  try {
    data.index();
  } catch (const Error&) {
    data.file_.require_whole();  // zeros of a truncated file may be the cause
    throw;
  }
  data.file_.require_whole();
  return data;
}

TokenData TokenData::from_text(std::string text, const Tokenizer& tokenizer, const std::string& source) {
  TokenData data(tokenizer);
  data.source_ = source;
  data.text_ = std::move(text);
  data.index();
  return data;
}

void TokenData::index() {
  const std::string_view content = text();
  if (tokenizer_.kind() == Tokenizer::Kind::byte) {
    size_ = static_cast<std::int64_t>(content.size());
  } else if (tokenizer_.is_single_byte()) {
    const auto& ids = tokenizer_.byte_ids();
    const auto* stranger = content.begin();
    for (std::size_t at = 0; at < content.size() && stranger == content.begin() + at; at += kPiece) {
      check_interrupt();
      const std::string_view piece = content.substr(at, kPiece);
      stranger =
          std::find_if(piece.begin(), piece.end(), [&](char c) { return ids[static_cast<unsigned char>(c)] < 0; });
    }
    if (stranger != content.end()) {
      auto offset = static_cast<std::size_t>(stranger - content.begin());
      tokenizer_.encode_next(content, offset, source_);  // throws, with the character and its place
    }
    size_ = static_cast<std::int64_t>(content.size());
  } else {
    encode();
  }
  if (size_ < 2) {
    raise<FormatError>(source_, ": at least two tokens are required, one to read and one to predict; the file has ",
                       size_ == 0 ? "none (it is empty)" : "one", "; choose a longer text");
  }
}

void TokenData::encode() {
  const std::string_view content = text();
  // Every byte that does not continue a character begins one: the count is exact for valid text.
  const auto characters = static_cast<std::size_t>(std::count_if(
      content.begin(), content.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xc0U) != 0x80U; }));
  const bool narrow = tokenizer_.vocab_size() <= kNarrowVocab;
  narrow ? narrow_.reserve(characters) : wide_.reserve(characters);
  for (std::size_t offset = 0, look = 0; offset < content.size();) {
    if (offset >= look) {
      check_interrupt();
      look = offset + kPiece;
    }
    const std::int32_t id = tokenizer_.encode_next(content, offset, source_);
    if (narrow) {
      narrow_.push_back(static_cast<std::uint16_t>(id));
    } else {
      wide_.push_back(id);
    }
  }
  size_ = static_cast<std::int64_t>(narrow ? narrow_.size() : wide_.size());
  file_.require_whole();
  file_ = {};
  text_ = {};
}

TokenRange TokenData::split(std::string_view name) const {
  if (name == "train") return train();
  if (name == "valid") return valid();
  if (name == "all") return all();
  raise<ValueError>("split must be one of train, valid, all; got ", quote(name), "; ",
                    did_you_mean(name, {"train", "valid", "all"}), "choose one of them");
}

std::int64_t TokenData::byte_count(TokenRange range) const {
  MIXGRAD_ASSERT(range.begin >= 0 && range.begin <= range.end && range.end <= size_, "a range within the tokens");
  if (tokenizer_.is_single_byte()) return range.size();
  std::int64_t bytes = 0;
  for (auto i = static_cast<std::size_t>(range.begin); i < static_cast<std::size_t>(range.end); ++i) {
    bytes += tokenizer_.byte_count(narrow_.empty() ? wide_[i] : std::int32_t{narrow_[i]});
  }
  return bytes;
}

void TokenData::gather(std::int64_t begin, std::int64_t count, std::int32_t* out) const {
  MIXGRAD_ASSERT(begin >= 0 && count >= 0 && begin <= size_ && count <= size_ - begin, "a range within the tokens");
  if (!narrow_.empty()) {
    std::copy_n(narrow_.begin() + begin, count, out);
  } else if (!wide_.empty()) {
    std::copy_n(wide_.begin() + begin, count, out);
  } else {
    const auto& ids = tokenizer_.byte_ids();
    const char* from = text().data() + begin;
    std::int32_t all_bits = 0;
    for (std::int64_t i = 0; i < count; ++i) {
      out[i] = ids[static_cast<unsigned char>(from[i])];
      all_bits |= out[i];
    }
    // Checked when the file was opened, but a mapping shows what others write into the file.
    file_.require_whole();
    if (all_bits < 0) {
      raise<IoError>(source_, ": the file must not change while it is in use; a character outside the vocabulary ",
                     "appeared near byte ", begin, "; start again");
    }
  }
}

void TokenData::check_context(std::int64_t context) const {
  if (context < 1 || context >= train_size()) {
    raise<ValueError>(source_, ": training with context ", context, " needs at least ",
                      context < 1 ? "a context of 1" : std::to_string(context) + " + 1 training tokens", "; there are ",
                      train_size(), " (the first 90 % of ", size_, "); choose a ",
                      context < 1 ? "larger context" : "smaller context or a longer text");
  }
}

void TokenData::sample_batch(Rng& rng, const Tensor& tokens, const Tensor& targets) const {
  check_batch("sample_batch", tokens, targets);
  const std::int64_t context = tokens.dim(1);
  check_context(context);
  auto* inputs = tokens.data<std::int32_t>();
  auto* wanted = targets.data<std::int32_t>();
  const auto starts = static_cast<std::uint64_t>(train_size() - context);
  for (std::int64_t b = 0; b < tokens.dim(0); ++b) {
    const auto begin = static_cast<std::int64_t>(rng.below(starts));
    gather(begin, context, inputs + b * context);
    gather(begin + 1, context, wanted + b * context);
  }
}

EvalWindows::EvalWindows(const TokenData& data, TokenRange range, std::int64_t context)
    : data_(data), targets_{std::max<std::int64_t>(range.begin, 1), range.end}, context_(context) {
  MIXGRAD_ASSERT(range.begin >= 0 && range.end <= data.size(), "a range within the tokens");
  if (context < 1) raise<ValueError>("eval: context must be at least 1; got ", context, "; choose a larger one");
  if (targets_.size() < 1) {
    raise<ValueError>(data.source(), ": at least one token to predict is required; the part has ",
                      std::max<std::int64_t>(range.size(), 0), " of ", data.size(),
                      " tokens, and the first of the file cannot be predicted; choose a longer text");
  }
}

std::int64_t EvalWindows::batches(std::int64_t batch) const {
  MIXGRAD_ASSERT(batch >= 1, "a batch of at least one window");
  return (count() - 1) / batch + 1;
}

std::int64_t EvalWindows::fill(std::int64_t first, const Tensor& tokens, const Tensor& targets) const {
  check_batch("eval", tokens, targets);
  if (tokens.dim(1) != context_) {
    raise<ShapeError>("eval: tokens must be [B,", context_, "]; got ", tokens.shape(), "; use the windows' context");
  }
  MIXGRAD_ASSERT(first >= 0, "windows are counted from 0");
  auto* inputs = tokens.data<std::int32_t>();
  auto* wanted = targets.data<std::int32_t>();
  std::int64_t filled = 0;
  for (std::int64_t b = 0; b < tokens.dim(0); ++b, inputs += context_, wanted += context_) {
    std::int64_t live = 0;
    if (first + b < count()) {
      const std::int64_t begin = targets_.begin + (first + b) * context_;
      live = std::min(context_, targets_.end - begin);
      data_.gather(begin - 1, live, inputs);
      data_.gather(begin, live, wanted);
    }
    std::fill(inputs + live, inputs + context_, 0);
    std::fill(wanted + live, wanted + context_, -1);
    filled += live;
  }
  return filled;
}

}  // namespace mixgrad
