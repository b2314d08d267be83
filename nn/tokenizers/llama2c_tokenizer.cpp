#include "nn/tokenizers/llama2c_tokenizer.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <unordered_map>
#include <utility>

#include "core/error.h"
#include "core/text/suggest.h"
#include "core/text/utf8.h"
#include "nn/files/strict_json.h"
#include "nn/tokenizers/built_in.h"
#include "nn/tokenizers/byte_pairs/bpe_encoder.h"

namespace mixgrad {
namespace {

constexpr std::size_t kFirstByte = 3, kFirstWord = 259;
constexpr std::int32_t kLongestPiece = 1024;
constexpr float kLowestScore = -1e10F;  // no pair of this score or less merges

struct Piece {
  std::string bytes;
  float score = 0;
};

std::string spelt_byte(std::size_t byte) {
  constexpr char kDigits[] = "0123456789ABCDEF";
  return {'<', '0', 'x', kDigits[byte >> 4U], kDigits[byte & 15U], '>'};
}

// What llama2.c's own loop takes as one character: a byte and up to three continuation bytes.
std::size_t character_bytes(std::string_view text) {
  std::size_t size = 1;
  while (size < 4 && size < text.size() && (static_cast<unsigned char>(text[size]) & 0xc0U) == 0x80U) ++size;
  return size;
}

class Llama2cTokenizer : public Tokenizer {
 public:
  Llama2cTokenizer(std::vector<Piece> pieces, const std::string& source) : pieces_(std::move(pieces)) {
    check(source);
    for (std::size_t id = kFirstWord; id < pieces_.size(); ++id) {
      ids_.emplace(pieces_[id].bytes, static_cast<std::int32_t>(id));  // of equal pieces the first
    }
    const auto space = ids_.find(" ");
    if (space == ids_.end()) {
      raise<FormatError>(source, ": a piece for a single space is required, which stands before every text; ",
                         "it is missing; check that it is the right file");
    }
    space_ = space->second;
    set_merges();
    cuts_.emplace(merges_);
  }

  std::int64_t vocab_size() const override { return static_cast<std::int64_t>(pieces_.size()); }
  SpecialTokens special_tokens() const override { return {.start = 1, .end = 2, .unknown = 0}; }

  void encode_into(std::string_view text, const std::string&, const TokenSink& sink) const override {
    if (text.empty()) return;
    BpeMerger merger(merges_);
    std::vector<std::int32_t> word{space_};
    std::vector<std::int32_t> ids;
    const auto add = [&](std::int32_t id, std::size_t done) {
      if (!cuts_->may_merge_across(word.back(), id)) {
        merger.merge(word);
        ids.insert(ids.end(), word.begin(), word.end());
        word.clear();
        constexpr std::size_t kEnough = 4096;
        if (ids.size() >= kEnough && done > 0) {
          sink(ids, done);
          ids.clear();
        }
      }
      word.push_back(id);
    };
    std::size_t told = 0;
    for (std::size_t at = 0; at < text.size();) {
      const std::string_view character = text.substr(at, character_bytes(text.substr(at)));
      const std::size_t done = at > told ? at : 0;  // told once
      const bool was_empty = ids.empty();
      const auto found = ids_.find(std::string(character));
      if (found != ids_.end()) {
        add(found->second, done);
      } else {
        for (const char byte : character) add(static_cast<unsigned char>(byte) + std::int32_t{kFirstByte}, done);
      }
      if (!was_empty && ids.empty()) told = at;
      at += character.size();
    }
    merger.merge(word);
    ids.insert(ids.end(), word.begin(), word.end());
    sink(ids, text.size());
  }
  std::size_t max_tokens(std::string_view text) const override { return text.size() + 1; }

  std::string piece(std::int32_t id) const override {
    check_id(id);
    const auto at = static_cast<std::size_t>(id);
    if (at < kFirstByte || at >= kFirstWord) return pieces_[at].bytes;
    return {static_cast<char>(static_cast<unsigned char>(at - kFirstByte))};
  }
  std::optional<std::int32_t> id_of(std::string_view piece) const override {
    const auto found = ids_.find(std::string(piece));
    if (found != ids_.end()) return found->second;
    if (piece.size() == 1) return static_cast<unsigned char>(piece[0]) + std::int32_t{kFirstByte};
    for (std::int32_t id = 0; id < std::int32_t{kFirstByte}; ++id) {
      if (pieces_[static_cast<std::size_t>(id)].bytes == piece) return id;
    }
    return std::nullopt;
  }

  std::unique_ptr<TokenDecoder> new_decoder() const override;

  std::string to_json() const override {
    nlohmann::ordered_json root;
    root["type"] = "llama2c";
    root["pieces"] = nlohmann::ordered_json::array();
    for (const Piece& piece : pieces_) root["pieces"].push_back({json_text(piece.bytes), piece.score});
    return root.dump() + "\n";
  }

 private:
  void check(const std::string& source) const {
    if (pieces_.size() <= kFirstWord) {
      raise<FormatError>(source, ": more than ", kFirstWord, " pieces are required; there are ", pieces_.size(),
                         "; check that it is the right file");
    }
    for (std::size_t id = 0; id < pieces_.size(); ++id) {
      const Piece& piece = pieces_[id];
      if (!std::isfinite(piece.score)) {
        raise<FormatError>(source, ": the score of every piece must be finite; that of piece ", id, " is ", piece.score,
                           "; correct the file");
      }
      if (id >= kFirstByte && id < kFirstWord && piece.bytes != spelt_byte(id - kFirstByte)) {
        raise<FormatError>(source, ": piece ", id, " must be ", spelt_byte(id - kFirstByte), "; found ",
                           quote(piece.bytes), "; check that it is the right file");
      }
      if (piece.bytes.empty() || piece.bytes.size() > static_cast<std::size_t>(kLongestPiece)) {
        raise<FormatError>(source, ": every piece must have 1 to ", kLongestPiece, " bytes; piece ", id, " has ",
                           piece.bytes.size(), "; correct the file");
      }
    }
  }

  // A pair merges when both together are a piece: every way to cut a piece in two is a pair.
  void set_merges() {
    std::vector<float> scores;
    for (std::size_t id = kFirstWord; id < pieces_.size(); ++id) scores.push_back(pieces_[id].score);
    std::sort(scores.begin(), scores.end(), std::greater<>());
    scores.erase(std::unique(scores.begin(), scores.end()), scores.end());
    for (const auto& entry : ids_) {
      const std::string& bytes = entry.first;
      const std::int32_t id = entry.second;
      const float score = pieces_[static_cast<std::size_t>(id)].score;
      if (score <= kLowestScore) continue;
      const auto rank = std::lower_bound(scores.begin(), scores.end(), score, std::greater<>()) - scores.begin();
      for (std::size_t cut = 1; cut < bytes.size(); ++cut) {
        for_each_id(bytes.substr(0, cut), [&](std::int32_t left) {
          for_each_id(bytes.substr(cut), [&](std::int32_t right) {
            merges_.set(left, right, {.rank = static_cast<std::uint32_t>(rank), .id = id});
          });
        });
      }
    }
  }
  // The pieces with these bytes, those of a byte with its spelling as llama2.c compares them.
  template <class Visit>
  void for_each_id(const std::string& bytes, const Visit& visit) const {
    const auto found = ids_.find(bytes);
    if (found != ids_.end()) visit(found->second);
    if (bytes.size() != 6 || !bytes.starts_with("<0x")) return;
    for (std::size_t byte = 0; byte < 256; ++byte) {
      if (spelt_byte(byte) == bytes) visit(static_cast<std::int32_t>(byte + kFirstByte));
    }
  }

  std::vector<Piece> pieces_;
  std::unordered_map<std::string, std::int32_t> ids_;  // from 259 on
  std::int32_t space_ = 0;
  BpeMerges merges_;
  std::optional<BpeCuts> cuts_;
};

class Llama2cDecoder : public TokenDecoder {
 public:
  explicit Llama2cDecoder(const Tokenizer& tokenizer) : tokenizer_(tokenizer) {}

  std::string next(std::int32_t id) override {
    std::string piece = tokenizer_.piece(id);
    if (std::exchange(at_start_, false) && piece.starts_with(' ')) piece.erase(0, 1);
    pending_ += piece;
    return take_complete(pending_);
  }
  std::string finish() override { return std::exchange(pending_, {}); }

 private:
  const Tokenizer& tokenizer_;
  bool at_start_ = true;
  std::string pending_;
};

std::unique_ptr<TokenDecoder> Llama2cTokenizer::new_decoder() const { return std::make_unique<Llama2cDecoder>(*this); }

TokenizerPtr load_llama2c(std::string_view text, const std::string& source) {
  const nlohmann::json root = parse_strict_json(text, source);
  const JsonPlace place{source, ""};
  json_exact_keys(root, place, {"type", "pieces"});
  const JsonPlace list = place.key("pieces");
  const nlohmann::json& stored = json_array(root["pieces"], list);
  std::vector<Piece> pieces;
  for (std::size_t i = 0; i < stored.size(); ++i) {
    const JsonPlace at = list.index(i);
    if (json_array(stored[i], at).size() != 2) at.wrong("a piece and its score", stored[i]);
    if (!stored[i][1].is_number()) at.index(1).wrong("a number", stored[i][1]);
    pieces.push_back({bytes_of_json_text(json_string(stored[i][0], at.index(0))), stored[i][1].get<float>()});
  }
  return std::make_shared<Llama2cTokenizer>(std::move(pieces), source);
}

template <class Number>
Number number_at(std::string_view content, std::size_t at) {
  Number value{};
  std::memcpy(&value, content.data() + at, sizeof value);
  return value;
}

}  // namespace

bool begins_llama2c(std::string_view content) {
  if (content.size() < 12) return false;
  const auto longest = number_at<std::int32_t>(content, 0);
  const auto first = number_at<std::int32_t>(content, 8);
  return longest >= 1 && longest <= kLongestPiece && first >= 1 && first <= longest;
}

TokenizerPtr read_llama2c(std::string_view content, const std::string& source) {
  if (content.size() < 4) {
    raise<FormatError>(source, ": the length of the longest piece is required in the first 4 bytes; the file has ",
                       content.size(), "; check that it is the right file");
  }
  const auto longest = number_at<std::int32_t>(content, 0);
  std::vector<Piece> pieces;
  for (std::size_t at = 4; at < content.size();) {
    const std::size_t left = content.size() - at;
    const std::int32_t size = left < 8 ? 0 : number_at<std::int32_t>(content, at + 4);
    if (left >= 8 && (size < 1 || size > longest)) {
      raise<FormatError>(source, ": piece ", pieces.size(), " must have 1 to ", longest,
                         " bytes, the longest piece by the start of the file; it says ", size, "; correct the file");
    }
    if (left < 8 || left - 8 < static_cast<std::size_t>(size)) {
      raise<FormatError>(source, ": piece ", pieces.size(),
                         " must have a score, a length and its bytes; the file ends ", "within it, after ",
                         content.size(), " bytes; it was cut off: take a whole copy");
    }
    pieces.push_back(
        {std::string(content.substr(at + 8, static_cast<std::size_t>(size))), number_at<float>(content, at)});
    at += 8 + static_cast<std::size_t>(size);
  }
  return std::make_shared<Llama2cTokenizer>(std::move(pieces), source);
}

TokenizerType built_in::llama2c_tokenizer_type() {
  return {.name = "llama2c", .summary = "the tokenizer.bin of llama2.c", .make = nullptr, .load = load_llama2c};
}

}  // namespace mixgrad
