#include "nn/tokenizers/bpe_tokenizer.h"

#include <algorithm>
#include <unordered_map>

#include "core/error.h"
#include "core/text/parse_number.h"
#include "core/text/suggest.h"
#include "nn/files/strict_json.h"
#include "nn/tokenizers/built_in.h"
#include "nn/tokenizers/byte_pairs/batch_encoder.h"
#include "nn/tokenizers/byte_pairs/bpe_encoder.h"

namespace mixgrad {
namespace {

class PatternEncoder : public PartEncoder {
 public:
  PatternEncoder(SplitPattern pattern, const BpeModel& model) : splitter_(pattern), encoder_(model) {}
  void encode(std::string_view part, bool, std::vector<std::int32_t>& ids) override {
    splitter_.split(part, [&](std::string_view word) { encoder_.encode(word, ids); });
  }

 private:
  WordSplitter splitter_;
  BpeEncoder encoder_;
};

class BpeTokenizer : public Tokenizer {
 public:
  BpeTokenizer(SplitPattern pattern, std::vector<BpePair> merges, const JsonPlace& place)
      : pattern_(pattern), merges_(std::move(merges)) {
    for (std::int32_t byte = 0; byte < 256; ++byte) {
      model_.of_byte[static_cast<std::size_t>(byte)] = byte;
      add_piece(std::string(1, static_cast<char>(byte)));
    }
    for (std::size_t i = 0; i < merges_.size(); ++i) add_merge(merges_[i], i, place);
  }

  std::int64_t vocab_size() const override { return static_cast<std::int64_t>(pieces_.size()); }

  void encode_into(std::string_view text, const std::string&, const TokenSink& sink) const override {
    BatchEncoder batch([&] { return std::make_unique<PatternEncoder>(pattern_, model_); }, sink);
    add_in_parts(batch, text, true, 0, text.size());
    batch.finish();
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
    return found == ids_.end() ? std::nullopt : std::optional(found->second);
  }

  std::string to_json() const override {
    nlohmann::ordered_json root;
    root["type"] = "bpe";
    root["pattern"] = split_pattern_name(pattern_);
    root["merges"] = nlohmann::ordered_json::array();
    for (const auto& [left, right] : merges_) root["merges"].push_back({left, right});
    return root.dump() + "\n";
  }

 private:
  bool add_piece(const std::string& piece) {
    if (!ids_.emplace(piece, static_cast<std::int32_t>(pieces_.size())).second) return false;
    pieces_.push_back(piece);
    return true;
  }

  void add_merge(const BpePair& pair, std::size_t i, const JsonPlace& place) {
    const auto id = static_cast<std::int32_t>(256 + i);
    const std::string what = place.index(i).path;
    for (const std::int32_t part : {pair.first, pair.second}) {
      if (part >= 0 && part < id) continue;
      raise<FormatError>(place.source, ": ", what, " must be a pair of ids from 0 to ", id - 1, "; found ", part,
                         "; correct the file");
    }
    const std::string piece =
        pieces_[static_cast<std::size_t>(pair.first)] + pieces_[static_cast<std::size_t>(pair.second)];
    if (piece.size() > kLongestBpeToken) {
      raise<FormatError>(place.source, ": ", what, " must make a token of at most ", kLongestBpeToken,
                         " bytes; it has ", piece.size(), "; correct the file");
    }
    if (!add_piece(piece)) {
      raise<FormatError>(place.source, ": ", what, " must make a token that is not there yet; found ", quote(piece),
                         " again; remove it");
    }
    model_.merges.set(pair.first, pair.second, {.rank = static_cast<std::uint32_t>(i), .id = id});
  }

  SplitPattern pattern_;
  std::vector<BpePair> merges_;
  BpeModel model_;
  std::vector<std::string> pieces_;
  std::unordered_map<std::string, std::int32_t> ids_;
};

TokenizerPtr make_bpe(const TokenizerInput& input) {
  const auto tokens = parse_integer(input.argument);
  if (!tokens || *tokens < 257 || *tokens > kMostBpeTokens) {
    raise<ValueError>("tokenizer: bpe:N needs a number of tokens from 257 to ", kMostBpeTokens, "; got ",
                      quote("bpe:" + input.argument), "; write for example bpe:4096");
  }
  const std::vector<BpePair> merges = learn_bpe_merges(input, SplitPattern::gpt2, *tokens);
  return bpe_tokenizer(SplitPattern::gpt2, merges);
}

TokenizerPtr load_bpe(std::string_view text, const std::string& source) {
  const nlohmann::json root = parse_strict_json(text, source);
  const JsonPlace place{source, ""};
  json_exact_keys(root, place, {"type", "pattern", "merges"});
  const std::string& name = json_string(root["pattern"], place.key("pattern"));
  std::vector<std::string> names;
  std::optional<SplitPattern> pattern;
  for (const SplitPattern known : kSplitPatterns) {
    names.emplace_back(split_pattern_name(known));
    if (names.back() == name) pattern = known;
  }
  if (!pattern) place.key("pattern").wrong("one of " + join(names), root["pattern"]);
  const JsonPlace merges_place = place.key("merges");
  const nlohmann::json& stored = json_array(root["merges"], merges_place);
  if (static_cast<std::int64_t>(stored.size()) > kMostBpeTokens) merges_place.wrong("at most 1048576 pairs", stored);
  std::vector<BpePair> merges;
  for (std::size_t i = 0; i < stored.size(); ++i) {
    const JsonPlace at = merges_place.index(i);
    if (json_array(stored[i], at).size() != 2) at.wrong("a pair of ids", stored[i]);
    const auto id = [&](std::size_t part) {
      return static_cast<std::int32_t>(json_integer(stored[i][part], at.index(part), 0, kMostBpeTokens));
    };
    merges.emplace_back(id(0), id(1));
  }
  return std::make_shared<BpeTokenizer>(*pattern, std::move(merges), merges_place);
}

}  // namespace

TokenizerPtr bpe_tokenizer(SplitPattern pattern, const std::vector<BpePair>& merges, const std::string& source) {
  return std::make_shared<BpeTokenizer>(pattern, merges, JsonPlace{source, "merges"});
}

TokenizerType built_in::bpe_tokenizer_type() {
  return {.name = "bpe",
          .summary = "N tokens, byte pairs learned from the file",
          .argument = "N",
          .make = make_bpe,
          .load = load_bpe};
}

}  // namespace mixgrad
