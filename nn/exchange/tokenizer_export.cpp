#include "nn/exchange/tokenizer_export.h"

#include <algorithm>
#include <cstring>
#include <nlohmann/json.hpp>
#include <tuple>
#include <unordered_map>

#include "core/error.h"
#include "nn/files/strict_json.h"
#include "nn/tokenizers/byte_pairs/split_pattern.h"
#include "nn/tokenizers/hugging_face/byte_characters.h"

namespace mixgrad {
namespace {

using nlohmann::json;
using nlohmann::ordered_json;

constexpr std::string_view kSpace =
    "\xe2\x96\x81";  // U+2581, which stands for a space in vocabularies of SentencePiece

// The frame of a tokenizer.json; the parts are set by the caller.
ordered_json empty_file() {
  return {{"version", "1.0"},          {"truncation", nullptr},
          {"padding", nullptr},        {"added_tokens", ordered_json::array()},
          {"normalizer", nullptr},     {"pre_tokenizer", nullptr},
          {"post_processor", nullptr}, {"decoder", nullptr}};
}

ordered_json bpe_model(ordered_json vocab, ordered_json merges) {
  return {{"type", "BPE"},
          {"dropout", nullptr},
          {"unk_token", nullptr},
          {"continuing_subword_prefix", nullptr},
          {"end_of_word_suffix", nullptr},
          {"fuse_unk", false},
          {"byte_fallback", false},
          {"ignore_merges", false},
          {"vocab", std::move(vocab)},
          {"merges", std::move(merges)}};
}

ordered_json byte_level(bool use_regex) {
  return {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"trim_offsets", true}, {"use_regex", use_regex}};
}

ExpressedTokenizer file_of(const ordered_json& root, std::string note = {}) {
  return {root.dump(2) + "\n", std::move(note)};
}

std::string spelt(std::string_view bytes) {
  std::string text;
  for (const char byte : bytes) text += byte_characters()[static_cast<unsigned char>(byte)];
  return text;
}

ExpressedTokenizer from_char(const json& stored) {
  ordered_json root = empty_file();
  ordered_json vocab = ordered_json::object();
  std::int64_t id = 0;
  for (const json& character : stored.at("vocab")) vocab[character.get<std::string>()] = id++;
  root["decoder"] = {{"type", "Fuse"}};
  root["model"] = bpe_model(std::move(vocab), ordered_json::array());
  return file_of(root,
                 "the tokenizer.json leaves out characters that the vocabulary lacks, where mixgrad refuses a text "
                 "with such");
}

ExpressedTokenizer from_byte() {
  ordered_json root = empty_file();
  ordered_json vocab = ordered_json::object();
  for (std::size_t byte = 0; byte < 256; ++byte) vocab[byte_characters()[byte]] = byte;
  root["pre_tokenizer"] = byte_level(false);
  root["decoder"] = byte_level(false);
  root["model"] = bpe_model(std::move(vocab), ordered_json::array());
  return file_of(root);
}

ExpressedTokenizer from_bpe(const Tokenizer& tokenizer, const json& stored) {
  std::string_view regex;
  for (const SplitPattern pattern : kSplitPatterns) {
    if (split_pattern_name(pattern) == stored.at("pattern").get<std::string>()) regex = split_pattern_regex(pattern);
  }
  ordered_json root = empty_file();
  ordered_json vocab = ordered_json::object(), merges = ordered_json::array();
  for (std::int32_t id = 0; id < tokenizer.vocab_size(); ++id) vocab[spelt(tokenizer.piece(id))] = id;
  for (const json& pair : stored.at("merges")) {
    merges.push_back(
        {spelt(tokenizer.piece(pair[0].get<std::int32_t>())), spelt(tokenizer.piece(pair[1].get<std::int32_t>()))});
  }
  const ordered_json split{
      {"type", "Split"}, {"pattern", {{"Regex", regex}}}, {"behavior", "Isolated"}, {"invert", false}};
  root["pre_tokenizer"] = {{"type", "Sequence"}, {"pretokenizers", {split, byte_level(false)}}};
  root["decoder"] = byte_level(false);
  root["model"] = bpe_model(std::move(vocab), std::move(merges));
  return file_of(root);
}

ordered_json added_token(const std::string& content, std::int64_t id) {
  return {{"id", id},        {"content", content},  {"single_word", false}, {"lstrip", false},
          {"rstrip", false}, {"normalized", false}, {"special", true}};
}

// With a character for the space, and llama2.c's "\n<s>\n" as the usual "<s>".
std::string sentence_piece(std::string piece, std::size_t id) {
  if (id < 3) {
    piece.erase(0, piece.find_first_not_of('\n'));
    piece.erase(piece.find_last_not_of('\n') + 1);
    return piece;
  }
  for (std::size_t at = 0; (at = piece.find(' ', at)) != std::string::npos; at += kSpace.size()) {
    piece.replace(at, 1, kSpace);
  }
  return piece;
}

// As transformers converts a SentencePiece model: every way to cut a piece in two others is a merge, in the order of
// the scores of the pieces.
ExpressedTokenizer from_llama2c(const json& stored) {
  ordered_json vocab = ordered_json::object();
  std::unordered_map<std::string, std::size_t> ids;
  std::vector<std::string> pieces;
  std::vector<float> scores;
  for (const json& entry : stored.at("pieces")) {
    const std::string bytes = bytes_of_json_text(entry[0].get<std::string>());
    pieces.push_back(sentence_piece(bytes, pieces.size()));
    scores.push_back(entry[1].get<float>());
    const bool ambiguous = bytes.find(kSpace) != std::string::npos || json_text(pieces.back()) != pieces.back();
    if (ambiguous || !ids.emplace(pieces.back(), pieces.size() - 1).second) {
      return {{},
              "its piece " + std::to_string(pieces.size() - 1) +
                  " is no text, has the sign for spaces in it or occurs twice, which a tokenizer.json cannot express"};
    }
    vocab[pieces.back()] = pieces.size() - 1;
  }
  std::vector<std::tuple<float, std::size_t, std::size_t, std::size_t>> pairs;  // -score, id, ids of both parts
  for (std::size_t id = 259; id < pieces.size(); ++id) {
    for (std::size_t cut = 1; cut < pieces[id].size(); ++cut) {
      const auto left = ids.find(pieces[id].substr(0, cut)), right = ids.find(pieces[id].substr(cut));
      if (left == ids.end() || right == ids.end() || left->second < 3 || right->second < 3) continue;
      pairs.emplace_back(-scores[id], id, left->second, right->second);
    }
  }
  std::sort(pairs.begin(), pairs.end());
  ordered_json merges = ordered_json::array();
  for (const auto& [score, id, left, right] : pairs) merges.push_back({pieces[left], pieces[right]});
  ordered_json root = empty_file();
  for (std::size_t id = 0; id < 3; ++id)
    root["added_tokens"].push_back(added_token(pieces[id], static_cast<std::int64_t>(id)));
  const std::string space(kSpace);
  const ordered_json to_space{{"type", "Replace"}, {"pattern", {{"String", space}}}, {"content", " "}};
  root["normalizer"] = {{"type", "Sequence"},
                        {"normalizers",
                         {{{"type", "Prepend"}, {"prepend", space}},
                          {{"type", "Replace"}, {"pattern", {{"String", " "}}}, {"content", space}}}}};
  root["post_processor"] = {
      {"type", "TemplateProcessing"},
      {"single",
       {{{"SpecialToken", {{"id", pieces[1]}, {"type_id", 0}}}}, {{"Sequence", {{"id", "A"}, {"type_id", 0}}}}}},
      {"pair",
       {{{"SpecialToken", {{"id", pieces[1]}, {"type_id", 0}}}},
        {{"Sequence", {{"id", "A"}, {"type_id", 0}}}},
        {{"SpecialToken", {{"id", pieces[1]}, {"type_id", 1}}}},
        {{"Sequence", {{"id", "B"}, {"type_id", 1}}}}}},
      {"special_tokens", {{pieces[1], {{"id", pieces[1]}, {"ids", {1}}, {"tokens", {pieces[1]}}}}}}};
  root["decoder"] = {{"type", "Sequence"},
                     {"decoders",
                      {to_space,
                       {{"type", "ByteFallback"}},
                       {{"type", "Fuse"}},
                       {{"type", "Strip"}, {"content", " "}, {"start", 1}, {"stop", 0}}}}};
  root["model"] = bpe_model(std::move(vocab), std::move(merges));
  root["model"]["unk_token"] = pieces[0];
  root["model"]["fuse_unk"] = true;
  root["model"]["byte_fallback"] = true;
  return file_of(root);
}

}  // namespace

ExpressedTokenizer hugging_face_form(const Tokenizer& tokenizer) {
  if (!tokenizer.is_text()) return {{}, "the tokens are no text"};
  const std::string content = tokenizer.to_json();
  const json stored = parse_strict_json(content, "tokenizer.json");
  if (stored.contains("model") && !stored.contains("type")) return {content};
  const std::string& type = stored.at("type").get_ref<const std::string&>();
  if (type == "char") return from_char(stored);
  if (type == "byte") return from_byte();
  if (type == "bpe") return from_bpe(tokenizer, stored);
  if (type == "llama2c") return from_llama2c(stored);
  return {{}, "a tokenizer of the type " + type + " has no such form"};
}

std::string tokenizer_config(const Tokenizer& tokenizer, std::int64_t context) {
  const SpecialTokens special = tokenizer.special_tokens();
  const ExpressedTokenizer expressed = hugging_face_form(tokenizer);
  const json file = parse_strict_json(expressed.content, "tokenizer.json");
  ordered_json root{{"tokenizer_class", "PreTrainedTokenizerFast"}, {"model_max_length", context}};
  const auto name = [&](const char* key, std::optional<std::int32_t> id) {
    if (!id) return;
    for (const json& token : file.at("added_tokens")) {
      if (token.at("id") == *id) root[key] = token.at("content");
    }
    for (const auto& item : file.at("model").at("vocab").items()) {
      if (item.value() == *id) root[key] = item.key();
    }
  };
  name("bos_token", special.start ? special.start : special.end);
  name("eos_token", special.end);
  name("unk_token", special.unknown);
  name("pad_token", special.padding);
  root["clean_up_tokenization_spaces"] = false;
  return root.dump(2) + "\n";
}

ExpressedTokenizer llama2c_form(const Tokenizer& tokenizer) {
  const json stored = parse_strict_json(tokenizer.to_json(), "tokenizer.json");
  if (!stored.contains("type") || stored.at("type") != "llama2c") {
    return {{}, "the tokenizer is none of llama2.c, whose form has pieces with scores"};
  }
  std::string content(4, '\0');
  std::int32_t longest = 0;
  for (const json& entry : stored.at("pieces")) {
    const std::string bytes = bytes_of_json_text(entry[0].get<std::string>());
    const auto score = entry[1].get<float>();
    const auto size = static_cast<std::int32_t>(bytes.size());
    longest = std::max(longest, size);
    content.append(reinterpret_cast<const char*>(&score), sizeof score);
    content.append(reinterpret_cast<const char*>(&size), sizeof size);
    content += bytes;
  }
  std::memcpy(content.data(), &longest, sizeof longest);
  return {content};
}

}  // namespace mixgrad
