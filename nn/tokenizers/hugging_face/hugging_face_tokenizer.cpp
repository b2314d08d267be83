#include "nn/tokenizers/hugging_face/hugging_face_tokenizer.h"

#include <algorithm>
#include <unordered_map>
#include <utility>

#include "core/error.h"
#include "core/text/suggest.h"
#include "core/text/utf8.h"
#include "nn/tokenizers/byte_pairs/batch_encoder.h"
#include "nn/tokenizers/hugging_face/hugging_face_internal.h"

namespace mixgrad {
namespace {

class HuggingFacePartEncoder : public PartEncoder {
 public:
  HuggingFacePartEncoder(const HuggingFaceParts& parts, const BpeCuts& cuts)
      : maker_(parts.pre_tokenizers), encoder_(parts.model), cuts_(cuts) {}

  void encode(std::string_view part, bool at_start, std::vector<std::int32_t>& ids) override {
    encode_until(part, at_start, ids, [](std::size_t) {});
  }
  // done(bytes) now and then, with the bytes of a long word that are encoded.
  template <class Done>
  void encode_until(std::string_view part, bool at_start, std::vector<std::int32_t>& ids, const Done& done) {
    constexpr std::size_t kLong = 64;
    maker_.split(part, at_start, [&](std::string_view word) {
      if (word.size() <= kLong) {
        encoder_.encode(word, ids);
      } else {
        encoder_.encode_long(word, cuts_, ids, done);
      }
    });
  }

 private:
  WordMaker maker_;
  BpeEncoder encoder_;
  const BpeCuts& cuts_;
};

// The text through the steps, on streams.
class HuggingFaceDecoder : public TokenDecoder {
 public:
  HuggingFaceDecoder(const Tokenizer& tokenizer, const HuggingFaceParts& parts)
      : tokenizer_(tokenizer), parts_(parts), stream_(parts.decoders) {}

  std::string next(std::int32_t id) override {
    (void)tokenizer_.byte_count(id);  // refuses an id that is none
    pending_ += stream_.next(parts_.tokens[static_cast<std::size_t>(id)]);
    return take_complete(pending_);
  }
  std::string finish() override {
    std::string text = std::move(pending_) + stream_.finish();
    pending_.clear();
    return text;
  }

 private:
  const Tokenizer& tokenizer_;
  const HuggingFaceParts& parts_;
  DecodingStream stream_;
  std::string pending_;
};

class HuggingFaceTokenizer : public Tokenizer {
 public:
  explicit HuggingFaceTokenizer(HuggingFaceParts parts)
      : parts_(std::move(parts)),
        cuts_(parts_.model.merges),
        as_given_(finder(false)),
        normalised_(finder(true)),
        growth_(growth(parts_.normalizers)) {
    for (const std::string& token : parts_.tokens) {
      pieces_.push_back(piece_of_token(parts_.decoders, token));
      ids_.emplace(pieces_.back(), static_cast<std::int32_t>(pieces_.size()) - 1);  // of equal pieces the first
    }
  }

  std::int64_t vocab_size() const override { return static_cast<std::int64_t>(parts_.tokens.size()); }
  SpecialTokens special_tokens() const override { return parts_.special; }

  void encode_into(std::string_view text, const std::string& source, const TokenSink& sink) const override {
    try {
      BatchEncoder batch([&] { return std::make_unique<HuggingFacePartEncoder>(parts_, cuts_); }, sink);
      as_given_.split(
          text, [&](std::size_t begin, std::size_t end) { encode_given(text, begin, end, batch); },
          [&](std::int32_t id, std::size_t, std::size_t end) { batch.add_id(id, end); });
      batch.finish();
    } catch (const NoSuchSymbol& symbol) {
      raise_no_such_symbol(symbol, text, source);
    }
  }

  // A byte is one token at most. The normalizers add to each part between tokens that are found in the text as it is,
  // the first pre-tokenizer to each part between any, the later ones to each word.
  std::size_t max_tokens(std::string_view text) const override {
    const auto parts_of = [](std::size_t bytes, const AddedTokenFinder& finder) {
      return finder.empty() ? std::size_t{1} : bytes / finder.shortest() + 1;
    };
    const std::size_t given = parts_of(text.size(), as_given_);
    const std::size_t normalised = text.size() * growth_.factor + given * growth_.bytes;
    const std::size_t prefix = prefix_bytes(parts_.pre_tokenizers);
    const std::size_t parts = given + parts_of(normalised, normalised_);
    const std::size_t words = parts + (parts_.pre_tokenizers.size() > 1 ? normalised : 0);
    return normalised * (has_metaspace() ? 4 : 1) + words * prefix;  // a space becomes up to four bytes
  }

  std::string piece(std::int32_t id) const override {
    check_id(id);
    return pieces_[static_cast<std::size_t>(id)];
  }
  std::int64_t byte_count(std::int32_t id) const override {
    check_id(id);
    return static_cast<std::int64_t>(pieces_[static_cast<std::size_t>(id)].size());
  }
  std::optional<std::int32_t> id_of(std::string_view piece) const override {
    const auto found = ids_.find(std::string(piece));
    return piece.empty() || found == ids_.end() ? std::nullopt : std::optional(found->second);
  }
  std::unique_ptr<TokenDecoder> new_decoder() const override {
    return std::make_unique<HuggingFaceDecoder>(*this, parts_);
  }

  bool expresses_any_text() const override {
    const auto all = [](const std::array<std::int32_t, 256>& ids) {
      return std::none_of(ids.begin(), ids.end(), [](std::int32_t id) { return id < 0; });
    };
    const bool bytes = parts_.model.symbols == BpeModel::Symbols::bytes;
    return parts_.model.unknown.has_value() || all(bytes ? parts_.model.of_byte : parts_.model.of_fallback_byte);
  }
  bool has_character(char32_t code) const override {
    std::string scratch;
    bool known = true;
    WordMaker(parts_.pre_tokenizers)
        .split(normalize(parts_.normalizers, utf8_bytes(code), scratch), false,
               [&](std::string_view word) { known = known && parts_.model.has_characters(word); });
    return known || parts_.model.unknown.has_value();
  }

  std::string to_json() const override { return parts_.json; }

 private:
  AddedTokenFinder finder(bool normalized) const {
    std::vector<AddedTokenFinder::Entry> entries;
    for (const AddedToken& token : parts_.added) {
      if (token.normalized == normalized) entries.push_back({token.normalized_form, token});
    }
    return AddedTokenFinder(std::move(entries));
  }

  // A part of the text without the tokens that are found in it as it is given.
  void encode_given(std::string_view text, std::size_t begin, std::size_t end, BatchEncoder& batch) const {
    const std::string_view given = text.substr(begin, end - begin);
    auto scratch = std::make_shared<std::string>();
    const std::string_view part = normalize(parts_.normalizers, given, *scratch);
    const std::shared_ptr<const std::string> keep = part.data() == given.data() ? nullptr : scratch;
    // How much of the text is done when `at` bytes of the normalised part are; exact at its end.
    const auto done_at = [&](std::size_t at) {
      if (at == part.size()) return end;
      if (part.size() == given.size()) return begin + at;
      const double share = static_cast<double>(at) / static_cast<double>(part.size());
      return begin + std::min(given.size() - 1, static_cast<std::size_t>(share * static_cast<double>(given.size())));
    };
    normalised_.split(
        part,
        [&](std::size_t from, std::size_t to) {
          const bool at_start = begin == 0 && from == 0;
          encode_normalised(part.substr(from, to - from), at_start, done_at(from), done_at(to), keep, batch);
        },
        [&](std::int32_t id, std::size_t, std::size_t to) { batch.add_id(id, done_at(to)); });
  }

  // [begin, end): what the part was in the text.
  void encode_normalised(std::string_view part, bool at_start, std::size_t begin, std::size_t end,
                         const std::shared_ptr<const std::string>& keep, BatchEncoder& batch) const {
    constexpr std::size_t kInPieces = std::size_t{1} << 20U;  // from here on a single word is handed on in pieces
    if (splits_into_words(parts_.pre_tokenizers)) {
      add_in_parts(batch, part, at_start, begin, end - begin, keep);
    } else if (part.size() < kInPieces) {
      batch.add_text(part, at_start, end, keep);
    } else {
      HuggingFacePartEncoder encoder(parts_, cuts_);
      std::vector<std::int32_t> ids;
      const auto hand_on = [&](std::size_t done) {
        if (ids.size() < kInPieces) return;
        const double share = static_cast<double>(done) / static_cast<double>(part.size());
        const auto bytes = static_cast<std::size_t>(share * static_cast<double>(end - begin));
        batch.add_ids(std::exchange(ids, {}), begin + std::min(bytes, end - begin - 1));
        batch.flush();
      };
      encoder.encode_until(part, at_start, ids, hand_on);
      batch.add_ids(std::move(ids), end);
    }
  }

  bool has_metaspace() const {
    return std::any_of(parts_.pre_tokenizers.begin(), parts_.pre_tokenizers.end(),
                       [](const PreTokenizer& step) { return std::holds_alternative<MetaspaceStep>(step); });
  }

  HuggingFaceParts parts_;
  BpeCuts cuts_;
  AddedTokenFinder as_given_, normalised_;
  Growth growth_;
  std::vector<std::string> pieces_;
  std::unordered_map<std::string, std::int32_t> ids_;
};

}  // namespace

TokenizerPtr hugging_face_tokenizer(const nlohmann::json& root, std::string_view json, const std::string& source) {
  HuggingFaceParts parts = read_hugging_face(root, source);
  parts.json = json;
  return std::make_shared<HuggingFaceTokenizer>(std::move(parts));
}

TokenizerPtr hugging_face_tokenizer(std::string_view json, const std::string& source) {
  return hugging_face_tokenizer(parse_strict_json(json, source), json, source);
}

std::string gpt2_tokenizer_json(std::string_view vocab, std::string_view merges, const std::string& vocab_source,
                                const std::string& merges_source) {
  nlohmann::ordered_json pairs = nlohmann::ordered_json::array();
  std::size_t line_number = 0;
  for (std::size_t at = 0; at < merges.size();) {
    const std::size_t line_feed = std::min(merges.find('\n', at), merges.size());
    std::string_view line = merges.substr(at, line_feed - at);
    at = line_feed + 1;
    ++line_number;
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (line.starts_with("#version")) continue;
    const std::size_t space = line.find(' ');
    if (space == std::string_view::npos || line.find(' ', space + 1) != std::string_view::npos || !is_utf8(line)) {
      raise<FormatError>(merges_source, ": every line must be two tokens with one space between them; found ",
                         quote(line), " in line ", line_number, "; correct the file");
    }
    pairs.push_back(std::string(line));
  }
  nlohmann::ordered_json byte_level{
      {"type", "ByteLevel"}, {"add_prefix_space", false}, {"trim_offsets", true}, {"use_regex", true}};
  nlohmann::ordered_json root{{"version", "1.0"},          {"truncation", nullptr},
                              {"padding", nullptr},        {"added_tokens", nlohmann::ordered_json::array()},
                              {"normalizer", nullptr},     {"pre_tokenizer", byte_level},
                              {"post_processor", nullptr}, {"decoder", byte_level}};
  root["model"] = {{"type", "BPE"}, {"vocab", parse_strict_json(vocab, vocab_source)}, {"merges", std::move(pairs)}};
  return root.dump() + "\n";
}

}  // namespace mixgrad
