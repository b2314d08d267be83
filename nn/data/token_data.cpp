#include "nn/data/token_data.h"

#include <algorithm>
#include <chrono>
#include <span>
#include <utility>

#include "core/error.h"
#include "core/system/interrupt.h"
#include "core/text/byte_order_mark.h"
#include "core/text/suggest.h"
#include "nn/data/shuffle.h"
#include "nn/files/hash.h"

namespace mixgrad {
namespace {

constexpr std::int64_t kNarrowVocab = 65536;
constexpr std::size_t kPiece = std::size_t{1} << 20U;  // bytes of text between two polls for a stop request

double steady_seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

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
  const std::string_view text = without_byte_order_mark(file.text());
  return {text.size(), xxh3_hex(text)};
}

std::string_view TokenData::content() const {
  return file_.size() > 0 ? file_.text().substr(mark_bytes_) : std::string_view(text_);
}

void TokenData::map(const std::filesystem::path& path) {
  file_ = MappedFile::open(path);
  source_ = file_.path();
  checked_write_ = file_.last_write();
  mark_bytes_ = file_.size() - without_byte_order_mark(file_.text()).size();
}

void TokenData::require_same_content() const {
  if (file_.size() == 0 || !text_id_) return;
  const std::int64_t now = file_.last_write();
  if (now == checked_write_) return;
  const double begin = steady_seconds();
  if (begin < next_check_) return;
  file_.require_whole();
  if (xxh3_hex(content()) != text_id_->xxh3) {
    raise<IoError>(source_, ": the file must stay as it is while it is read; it was overwritten with another content; ",
                   "restore it, or give a copy that nobody writes to");
  }
  checked_write_ = now;
  // A large file that is written to all the time would be hashed for every batch.
  constexpr double kCheap = 1e-3;  // seconds
  constexpr double kPause = 50;    // times as long as the hash took
  const double seconds = steady_seconds() - begin;
  if (seconds > kCheap) next_check_ = begin + (1 + kPause) * seconds;
}

// Accompanies one pass over a text: polls for stop requests and, when the text is to be identified, hashes each part
// right after it was read, while it is still in the cache.
class TokenData::Pass {
 public:
  Pass(std::string_view text, Identify identify) : text_(text) {
    if (identify == Identify::yes) hash_.emplace();
  }

  // The pass has read `bytes` bytes so far.
  void reached(std::size_t bytes) {
    if (bytes >= done_ + kPiece) advance(bytes);
  }
  std::optional<TextId> finish() {
    while (hash_ && done_ < text_.size()) advance(std::min(done_ + kPiece, text_.size()));
    if (!hash_) return std::nullopt;
    return TextId{text_.size(), hash_->hex()};
  }

 private:
  void advance(std::size_t bytes) {
    check_interrupt();
    if (hash_) hash_->add(text_.data() + done_, bytes - done_);
    done_ = bytes;
  }

  std::string_view text_;
  std::optional<Xxh3> hash_;
  std::size_t done_ = 0;
};

// A file that is truncated meanwhile reads as zeros: that is the error then, not what the zeros lead to.
template <class Read>
void TokenData::read_whole(const Read& read) {
  try {
    read();
  } catch (const Error&) {
    file_.require_whole();
    throw;
  }
  file_.require_whole();
}

TokenData TokenData::open(const std::filesystem::path& path, TokenizerPtr tokenizer, Identify identify,
                          const UnknownRule& unknown) {
  TokenData data;
  data.map(path);
  data.tokenizer_ = std::move(tokenizer);
  Pass pass(data.content(), identify);
  data.read_whole([&] { unknown.action == UnknownRule::Action::refuse ? data.index(pass) : data.fit(unknown, pass); });
  return data;
}

TokenData TokenData::open(const std::filesystem::path& path, const TokenizerType& type, Identify identify) {
  TokenData data;
  data.map(path);
  data.read_whole([&] {
    Pass making(data.content(), identify);
    data.tokenizer_ = type.make({.text = data.content(), .source = data.source_, .progress = [&](std::size_t bytes) {
                                   making.reached(bytes);
                                 }});
    const std::optional<TextId> id = making.finish();
    if (data.tokenizer_->byte_ids() != nullptr) {  // made from this text, so every byte of it is in the vocabulary
      data.size_ = static_cast<std::int64_t>(data.content().size());
      data.require_two_tokens();
    } else {
      Pass encoding(data.content(), Identify::no);
      data.index(encoding);
    }
    data.text_id_ = id;
  });
  return data;
}

TokenData TokenData::from_text(std::string text, TokenizerPtr tokenizer, const std::string& source) {
  TokenData data;
  data.source_ = source;
  data.tokenizer_ = std::move(tokenizer);
  data.text_ = std::move(text);
  Pass pass(data.content(), Identify::no);
  data.index(pass);
  return data;
}

TokenData TokenData::from_ids(KnownIds known, TokenizerPtr tokenizer) {
  TokenData data;
  data.source_ = std::move(known.source);
  data.tokenizer_ = std::move(tokenizer);
  data.size_ = static_cast<std::int64_t>(known.ids.size());
  data.train_ = known.train;
  data.valid_apart_ = known.valid_apart;
  data.text_id_ = std::move(known.id);
  data.misfits_ = std::move(known.misfits);
  data.require_two_tokens();
  if (data.tokenizer_->vocab_size() <= kNarrowVocab) {
    data.narrow_.assign(known.ids.begin(), known.ids.end());
  } else {
    data.wide_ = std::move(known.ids);
  }
  return data;
}

TokenData TokenData::from_shards(TokenShards shards, KnownIds known, TokenizerPtr tokenizer) {
  TokenData data;
  data.source_ = std::move(known.source);
  data.tokenizer_ = std::move(tokenizer);
  data.size_ = shards.size();
  data.train_ = known.train;
  data.valid_apart_ = known.valid_apart;
  data.text_id_ = std::move(known.id);
  data.shards_.emplace(std::move(shards));
  data.require_two_tokens();
  return data;
}

TokenRange TokenData::targets(TokenRange range) const {
  MIXGRAD_ASSERT(range.begin >= 0 && range.end <= size_, "a range within the tokens");
  const bool starts = range.begin == 0 || (valid_apart_ && range.begin == train_size());
  return {range.begin + (starts ? 1 : 0), range.end};
}

void TokenData::index(Pass& pass) {
  if (const auto* ids = tokenizer_->byte_ids()) {
    const bool every_byte = std::none_of(ids->begin(), ids->end(), [](std::int32_t id) { return id < 0; });
    if (!every_byte) check_bytes(*ids, pass);
    size_ = static_cast<std::int64_t>(content().size());
    text_id_ = pass.finish();
  } else {
    encode(pass);
  }
  require_two_tokens();
}

void TokenData::fit(const UnknownRule& rule, Pass& pass) {
  FittedText fitted = fit_text(content(), *tokenizer_, rule, source_, [&](std::size_t bytes) { pass.reached(bytes); });
  const std::optional<TextId> id = pass.finish();
  misfits_ = std::move(fitted.misfits);
  if (!misfits_.empty()) {
    file_.require_whole();
    file_ = {};
    text_ = std::move(fitted.text);
  }
  Pass again(content(), Identify::no);
  index(again);
  text_id_ = id;
}

void TokenData::check_bytes(const std::array<std::int32_t, 256>& ids, Pass& pass) const {
  const std::string_view all = content();
  for (std::size_t at = 0; at < all.size(); at += kPiece) {
    const std::string_view piece = all.substr(at, kPiece);
    const auto* unknown =
        std::find_if(piece.begin(), piece.end(), [&](char c) { return ids[static_cast<unsigned char>(c)] < 0; });
    if (unknown != piece.end()) {
      tokenizer_->encode_into(all, source_, [](auto, auto) {});  // throws, naming the character and its position
      raise<ValueError>(source_, ": every byte must be in the vocabulary; the one at byte ", unknown - all.begin(),
                        " is not; choose another text or tokenizer");
    }
    pass.reached(at + piece.size());
  }
}

void TokenData::encode(Pass& pass) {
  const std::string_view all = content();
  const std::size_t most = tokenizer_->max_tokens(all);
  const bool narrow = tokenizer_->vocab_size() <= kNarrowVocab;
  if (narrow) {
    narrow_.reserve(most);
  } else {
    wide_.reserve(most);
  }
  tokenizer_->encode_into(all, source_, [&](std::span<const std::int32_t> ids, std::size_t bytes) {
    if (narrow) {
      for (const std::int32_t id : ids) narrow_.push_back(static_cast<std::uint16_t>(id));
    } else {
      wide_.insert(wide_.end(), ids.begin(), ids.end());
    }
    pass.reached(bytes);
  });
  size_ = static_cast<std::int64_t>(narrow ? narrow_.size() : wide_.size());
  text_id_ = pass.finish();
  file_.require_whole();
  file_ = {};
  text_ = {};
}

void TokenData::require_two_tokens() const {
  if (size_ >= 2) return;
  raise<FormatError>(source_, ": at least two tokens are required, one to read and one to predict; the file has ",
                     size_ == 1         ? "one"
                     : misfits_.empty() ? "none (it is empty)"
                                        : "none of the vocabulary",
                     "; choose a longer text");
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
  if (tokenizer_->byte_ids() != nullptr || !tokenizer_->is_text()) return range.size();
  std::int64_t bytes = 0;
  std::array<std::int32_t, 4096> ids;
  for (std::int64_t at = range.begin; shards_ && at < range.end; at += 4096) {
    const std::int64_t count = std::min<std::int64_t>(range.end - at, 4096);
    shards_->gather(at, count, ids.data());
    for (std::int64_t i = 0; i < count; ++i) bytes += tokenizer_->byte_count(ids[static_cast<std::size_t>(i)]);
  }
  if (shards_) return bytes;
  for (auto i = static_cast<std::size_t>(range.begin); i < static_cast<std::size_t>(range.end); ++i) {
    bytes += tokenizer_->byte_count(narrow_.empty() ? wide_[i] : std::int32_t{narrow_[i]});
  }
  return bytes;
}

void TokenData::gather(std::int64_t begin, std::int64_t count, std::int32_t* out) const {
  MIXGRAD_ASSERT(begin >= 0 && count >= 0 && begin <= size_ && count <= size_ - begin, "a range within the tokens");
  if (shards_) {
    shards_->gather(begin, count, out);
  } else if (!narrow_.empty()) {
    std::copy_n(narrow_.begin() + begin, count, out);
  } else if (!wide_.empty()) {
    std::copy_n(wide_.begin() + begin, count, out);
  } else {
    const auto& ids = *tokenizer_->byte_ids();
    const char* from = content().data() + begin;
    std::int32_t all_bits = 0;
    for (std::int64_t i = 0; i < count; ++i) {
      out[i] = ids[static_cast<unsigned char>(from[i])];
      all_bits |= out[i];
    }
    // The bytes were checked when the file was opened, but a mapping shows what others write into the file.
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
                      train_size(), train_ >= 0 ? " (of " : " (the first 90 % of ", size_, "); choose a ",
                      context < 1 ? "larger context" : "smaller context or a longer text");
  }
}

void TokenData::sample_batch(Rng& rng, const Tensor& tokens, const Tensor& targets) const {
  check_batch("sample_batch", tokens, targets);
  require_same_content();
  const std::int64_t context = tokens.dim(1);
  check_context(context);
  auto* inputs = tokens.data<std::int32_t>();
  auto* wanted = targets.data<std::int32_t>();
  const auto starts = static_cast<std::uint64_t>(train_size() - context);
  const WindowGrid grid = WindowGrid::of(train_size(), context);
  for (std::int64_t b = 0; b < tokens.dim(0); ++b) {
    std::int64_t begin = 0;
    if (sampling_ == Sampling::random) {
      begin = static_cast<std::int64_t>(rng.below(starts));
    } else {
      begin = shuffled_window(grid, rng.seed(), rng.counter() - kFirstDraw);
      rng = Rng(rng.seed(), rng.counter() + 1);
    }
    gather(begin, context, inputs + b * context);
    gather(begin + 1, context, wanted + b * context);
  }
}

EvalWindows::EvalWindows(const TokenData& data, TokenRange range, std::int64_t context, std::int64_t stride)
    : data_(data), targets_(data.targets(range)), context_(context), stride_(stride == 0 ? context : stride) {
  if (context < 1) raise<ValueError>("eval: context must be at least 1; got ", context, "; choose a larger one");
  if (stride_ < 1 || stride_ > context) {
    raise<ValueError>("eval: the stride must be from 1 to the context, ", context, "; got ", stride,
                      "; choose a smaller one");
  }
  if (targets_.size() < 1) {
    raise<ValueError>(data.source(), ": at least one token to predict is required; the part has ",
                      std::max<std::int64_t>(range.size(), 0), " of ", data.size(),
                      " tokens, and the first of the file cannot be predicted; choose a longer text");
  }
}

TokenRange EvalWindows::predicted(std::int64_t window) const {
  const std::int64_t begin = targets_.begin + window * stride_;
  return {begin, std::min(begin + context_, targets_.end)};
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
  data_.require_same_content();
  auto* inputs = tokens.data<std::int32_t>();
  auto* wanted = targets.data<std::int32_t>();
  std::int64_t filled = 0;
  for (std::int64_t b = 0; b < tokens.dim(0); ++b, inputs += context_, wanted += context_) {
    std::int64_t live = 0;
    std::int64_t known = 0;  // targets of the windows before
    if (first + b < count()) {
      const TokenRange range = predicted(first + b);
      live = range.size();
      known = first + b == 0 ? 0 : context_ - stride_;
      data_.gather(range.begin - 1, live, inputs);
      data_.gather(range.begin, live, wanted);
    }
    std::fill(inputs + live, inputs + context_, 0);
    std::fill(wanted, wanted + known, -1);
    std::fill(wanted + live, wanted + context_, -1);
    filled += live - known;
  }
  return filled;
}

}  // namespace mixgrad
