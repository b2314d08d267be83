#include "nn/tokenizers/hugging_face/token_decoders.h"

#include <algorithm>
#include <utility>

#include "nn/tokenizers/hugging_face/byte_characters.h"
#include "nn/tokenizers/hugging_face/normalizers.h"

namespace mixgrad {
namespace {

// The byte of a token such as <0x0A>, or the token.
std::string fallback_byte(std::string token) {
  const auto digit = [](char c) {
    if (c >= '0' && c <= '9') return c - '0';
    const char lower = static_cast<char>(c | 0x20);
    return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
  };
  if (token.size() != 6 || !token.starts_with("<0x") || token[5] != '>') return token;
  // `tokenizers` reads a sign as Rust does: <0x+A> is the byte 10.
  const int high = token[3] == '+' ? 0 : digit(token[3]);
  const int low = digit(token[4]);
  if (high < 0 || low < 0) return token;
  return {static_cast<char>(high * 16 + low)};
}

std::string stripped(const std::string& token, const StripDecoder& strip) {
  std::size_t begin = 0;
  std::size_t end = token.size();
  const std::size_t size = strip.content.size();
  for (std::size_t i = 0; i < strip.start && token.compare(begin, size, strip.content) == 0; ++i) begin += size;
  for (std::size_t i = 0; i < strip.stop && end >= begin + size; ++i) {
    if (token.compare(end - size, size, strip.content) != 0) break;
    end -= size;
  }
  return token.substr(begin, end - begin);
}

std::string spaces_of(const std::string& token, const MetaspaceDecoder& metaspace, bool first) {
  return replaced(token, metaspace.replacement, first && metaspace.drop_first ? "" : " ");
}

std::string bytes_of(std::string token) {
  if (auto bytes = bytes_of_characters(token)) return std::move(*bytes);
  return token;
}

// What needs nothing but the token.
template <class Function>
class TokenStage : public DecodingStage {
 public:
  explicit TokenStage(Function function) : function_(std::move(function)) {}
  std::string next(std::string part) override { return function_(std::move(part)); }

 private:
  Function function_;
};

template <class Function>
std::unique_ptr<DecodingStage> token_stage(Function function) {
  return std::make_unique<TokenStage<Function>>(std::move(function));
}

// Replaces in the whole text, which comes in parts.
class ReplaceStage : public DecodingStage {
 public:
  explicit ReplaceStage(ReplaceDecoder step) : step_(std::move(step)) {}
  std::string next(std::string part) override {
    rest_ += part;
    std::string out;
    std::size_t begin = 0;
    for (std::size_t at = 0; (at = rest_.find(step_.pattern, begin)) != std::string::npos;) {
      out += rest_.substr(begin, at - begin) + step_.content;
      begin = at + step_.pattern.size();
    }
    // A pattern may have begun.
    std::size_t kept = std::min(step_.pattern.size() - 1, rest_.size() - begin);
    while (kept > 0 && rest_.compare(rest_.size() - kept, kept, step_.pattern, 0, kept) != 0) --kept;
    out += rest_.substr(begin, rest_.size() - kept - begin);
    rest_.erase(0, rest_.size() - kept);
    return out;
  }
  std::string finish() override { return std::exchange(rest_, {}); }

 private:
  ReplaceDecoder step_;
  std::string rest_;
};

// Strips the whole text, which comes in parts.
class StripStage : public DecodingStage {
 public:
  explicit StripStage(StripDecoder step) : step_(std::move(step)) {}
  std::string next(std::string part) override {
    rest_ += part;
    const std::size_t size = step_.content.size();
    while (at_start_ && step_.start > 0 && rest_.starts_with(step_.content)) {
      rest_.erase(0, size);
      --step_.start;
    }
    if (at_start_ && step_.start > 0 && step_.content.starts_with(rest_)) return {};  // it may go on
    at_start_ = false;
    const std::size_t kept = std::min(rest_.size(), step_.stop * size);  // it may be the end
    std::string out = rest_.substr(0, rest_.size() - kept);
    rest_.erase(0, rest_.size() - kept);
    return out;
  }
  std::string finish() override {
    const StripDecoder end{step_.content, 0, step_.stop};
    return stripped(std::exchange(rest_, {}), end);
  }

 private:
  StripDecoder step_;
  bool at_start_ = true;
  std::string rest_;
};

std::unique_ptr<DecodingStage> metaspace_stage(const MetaspaceDecoder& step, bool fused) {
  return token_stage([step, fused, first = true](const std::string& part) mutable {
    std::string out = spaces_of(part, step, first);
    if (!fused) first = false;  // the whole text is one token, the first
    return out;
  });
}

struct MakeStage {
  bool& fused;

  std::unique_ptr<DecodingStage> operator()(const ReplaceDecoder& step) const {
    if (fused) return std::make_unique<ReplaceStage>(step);
    return token_stage([step](const std::string& part) { return replaced(part, step.pattern, step.content); });
  }
  std::unique_ptr<DecodingStage> operator()(const ByteFallbackDecoder&) const { return token_stage(fallback_byte); }
  std::unique_ptr<DecodingStage> operator()(const FuseDecoder&) const {
    fused = true;
    return nullptr;
  }
  std::unique_ptr<DecodingStage> operator()(const StripDecoder& step) const {
    if (fused) return std::make_unique<StripStage>(step);
    return token_stage([step](const std::string& part) { return stripped(part, step); });
  }
  std::unique_ptr<DecodingStage> operator()(const ByteLevelDecoder&) const {
    fused = true;
    return token_stage(bytes_of);
  }
  std::unique_ptr<DecodingStage> operator()(const MetaspaceDecoder& step) const { return metaspace_stage(step, fused); }
  std::unique_ptr<DecodingStage> operator()(const SpaceDecoder&) const {
    return token_stage(
        [first = true](const std::string& part) mutable { return (std::exchange(first, false) ? "" : " ") + part; });
  }
};

// Of one token in the middle of the text: what is done at the start and at the end of a text is not.
struct MakePiece {
  std::string& piece;
  bool& fused;

  void operator()(const ReplaceDecoder& step) const { piece = replaced(piece, step.pattern, step.content); }
  void operator()(const ByteFallbackDecoder&) const { piece = fallback_byte(piece); }
  void operator()(const FuseDecoder&) const { fused = true; }
  void operator()(const StripDecoder& step) const {
    if (!fused) piece = stripped(piece, step);
  }
  void operator()(const ByteLevelDecoder&) const {
    piece = bytes_of(piece);
    fused = true;
  }
  void operator()(const MetaspaceDecoder& step) const { piece = spaces_of(piece, step, false); }
  void operator()(const SpaceDecoder&) const {}
};

}  // namespace

DecodingStream::DecodingStream(const std::vector<DecoderStep>& steps) {
  bool fused = false;
  for (const DecoderStep& step : steps) {
    if (auto stage = std::visit(MakeStage{fused}, step)) stages_.push_back(std::move(stage));
  }
}

std::string DecodingStream::pass(std::size_t from, std::string part) {
  for (std::size_t i = from; i < stages_.size(); ++i) part = stages_[i]->next(std::move(part));
  return part;
}

std::string DecodingStream::next(std::string token) { return pass(0, std::move(token)); }

std::string DecodingStream::finish() {
  std::string text;
  for (std::size_t i = 0; i < stages_.size(); ++i) text += pass(i + 1, stages_[i]->finish());
  return text;
}

std::string piece_of_token(const std::vector<DecoderStep>& steps, const std::string& token) {
  std::string piece = token;
  bool fused = false;
  for (const DecoderStep& step : steps) std::visit(MakePiece{piece, fused}, step);
  return piece;
}

}  // namespace mixgrad
