// Reads a tokenizer.json: the model, the added tokens, and everything that is refused.
#include <algorithm>
#include <unordered_set>

#include "core/error.h"
#include "core/text/suggest.h"
#include "core/text/utf8.h"
#include "nn/tokenizers/hugging_face/byte_characters.h"
#include "nn/tokenizers/hugging_face/hugging_face_internal.h"

namespace mixgrad {
namespace {

using nlohmann::json;
using Vocabulary = std::unordered_map<std::string, std::int32_t>;

constexpr std::size_t kMostTokens = std::size_t{1} << 24U;

void require_null(const json& root, const JsonPlace& place, const std::string& key, const char* why) {
  const json& value = optional_key(root, key);
  if (!value.is_null())
    place.key(key).fail(std::string(" must be null: ") + why + "; found " + describe(value) +
                        "; remove it from the file");
}

const std::string& optional_text(const json& value, const JsonPlace& place, const std::string& key) {
  static const std::string none;
  const json& given = optional_key(value, key);
  return given.is_null() ? none : json_string(given, place.key(key));
}

bool optional_flag(const json& value, const JsonPlace& place, const std::string& key) {
  const json& given = optional_key(value, key);
  return !given.is_null() && json_bool(given, place.key(key));
}

// Ids 0 to n - 1, each once.
Vocabulary read_vocabulary(const json& value, const JsonPlace& place, std::vector<std::string>& tokens) {
  json_object(value, place);
  if (value.empty() || value.size() > kMostTokens) place.wrong("an object of 1 to 16777216 tokens", value);
  tokens.resize(value.size());
  std::vector<bool> seen(value.size());
  Vocabulary ids;
  ids.reserve(value.size());
  for (const auto& [token, id] : value.items()) {
    const std::int64_t number = json_integer(id, place.key(token), 0, static_cast<std::int64_t>(value.size()) - 1);
    if (seen[static_cast<std::size_t>(number)]) place.key(token).wrong("an id that no other token has", id);
    seen[static_cast<std::size_t>(number)] = true;
    tokens[static_cast<std::size_t>(number)] = token;
    ids.emplace(token, static_cast<std::int32_t>(number));
  }
  return ids;
}

// "a b" or ["a", "b"].
std::pair<std::string, std::string> read_pair(const json& value, const JsonPlace& place) {
  if (value.is_string()) {
    const std::string& text = value.get_ref<const std::string&>();
    const std::size_t space = text.find(' ');
    if (space == std::string::npos || text.find(' ', space + 1) != std::string::npos) {
      place.wrong("two tokens with one space between them", value);
    }
    return {text.substr(0, space), text.substr(space + 1)};
  }
  if (!value.is_array() || value.size() != 2) place.wrong("a pair of tokens", value);
  return {json_string(value[0], place.index(0)), json_string(value[1], place.index(1))};
}

void read_merges(const json& value, const JsonPlace& place, const Vocabulary& ids, BpeModel& model) {
  json_array(value, place);
  for (std::size_t i = 0; i < value.size(); ++i) {
    const std::pair<std::string, std::string> pair = read_pair(value[i], place.index(i));
    const std::string& left = pair.first;
    const std::string& right = pair.second;
    const auto id_of = [&](const std::string& token) {
      const auto found = ids.find(token);
      if (found == ids.end()) {
        raise<FormatError>(place.source, ": ", place.index(i).path,
                           " must join two tokens of the vocabulary to a third; ", quote(left), " and ", quote(right),
                           " need ", quote(token), ", which is not in it; ", "correct the file");
      }
      return found->second;
    };
    const std::int32_t left_id = id_of(left);
    const std::int32_t right_id = id_of(right);
    model.merges.set(left_id, right_id, {.rank = static_cast<std::uint32_t>(i), .id = id_of(left + right)});
  }
}

std::string fallback_token(unsigned byte) {
  constexpr char kDigits[] = "0123456789ABCDEF";
  return {'<', '0', 'x', kDigits[byte >> 4U], kDigits[byte & 15U], '>'};
}

void set_symbols(const Vocabulary& ids, BpeModel& model) {
  const auto find = [&](const std::string& token) {
    const auto found = ids.find(token);
    return found == ids.end() ? -1 : found->second;
  };
  for (unsigned byte = 0; byte < 256; ++byte) {
    if (model.symbols == BpeModel::Symbols::bytes) {
      model.of_byte[byte] = find(byte_characters()[byte]);
    } else if (byte < 0x80) {
      model.of_byte[byte] = find(std::string(1, static_cast<char>(byte)));
    }
  }
  if (model.symbols == BpeModel::Symbols::bytes) return;
  for (const auto& [token, id] : ids) {
    std::size_t end = 0;
    if (token.empty() || static_cast<unsigned char>(token[0]) < 0x80) continue;
    const std::int32_t code = next_code_point(token, end);
    if (code >= 0 && end == token.size()) model.of_character.emplace(static_cast<char32_t>(code), id);
  }
}

void set_whole_words(const Vocabulary& ids, BpeModel& model) {
  for (const auto& [token, id] : ids) {
    const std::optional<std::string> word =
        model.symbols == BpeModel::Symbols::bytes ? bytes_of_characters(token) : std::optional(token);
    if (!word || word->empty()) continue;
    model.whole_words.emplace(*word, id);
    model.longest_whole_word = std::max(model.longest_whole_word, word->size());
  }
}

Vocabulary read_model(const json& value, const JsonPlace& place, HuggingFaceParts& parts) {
  json_object(value, place);
  type_of(value, place, {"BPE"});
  refuse_other_keys(value, place,
                    {"type", "dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix", "fuse_unk",
                     "byte_fallback", "ignore_merges", "vocab", "merges"});
  const json& dropout = optional_key(value, "dropout");
  if (!dropout.is_null() && dropout != 0) place.key("dropout").wrong("null or 0: merges are never left out", dropout);
  for (const char* key : {"continuing_subword_prefix", "end_of_word_suffix"}) {
    if (!optional_text(value, place, key).empty()) {
      place.key(key).wrong("null or empty; such vocabularies are not supported", value[key]);
    }
  }
  BpeModel& model = parts.model;
  const auto is_byte_level = [](const PreTokenizer& step) { return std::holds_alternative<ByteLevelStep>(step); };
  const bool byte_level = std::any_of(parts.pre_tokenizers.begin(), parts.pre_tokenizers.end(), is_byte_level);
  model.symbols = byte_level ? BpeModel::Symbols::bytes : BpeModel::Symbols::characters;
  Vocabulary ids = read_vocabulary(json_at(value, place, "vocab"), place.key("vocab"), parts.tokens);
  read_merges(json_at(value, place, "merges"), place.key("merges"), ids, model);
  set_symbols(ids, model);
  model.fuse_unknown = optional_flag(value, place, "fuse_unk");
  if (const auto found = ids.find(optional_text(value, place, "unk_token")); found != ids.end()) {
    if (!optional_key(value, "unk_token").is_null()) model.unknown = found->second;
  }
  if (optional_flag(value, place, "byte_fallback")) {
    if (byte_level && std::count(model.of_byte.begin(), model.of_byte.end(), -1) > 0) {
      place.key("byte_fallback")
          .fail(
              " is not supported beside ByteLevel with a vocabulary that lacks some of the 256 "
              "byte characters; add them, or remove byte_fallback");
    }
    for (unsigned byte = 0; byte < 256; ++byte) {
      if (const auto found = ids.find(fallback_token(byte)); found != ids.end()) {
        model.of_fallback_byte[byte] = found->second;
      }
    }
  }
  if (optional_flag(value, place, "ignore_merges")) set_whole_words(ids, model);
  return ids;
}

AddedToken read_added_token(const json& value, const JsonPlace& place) {
  json_exact_keys(value, place, {"id", "content", "single_word", "lstrip", "rstrip", "normalized", "special"});
  const auto is = [&](const char* key) { return json_bool(value[key], place.key(key)); };
  AddedToken token{.content = json_string(value["content"], place.key("content")),
                   .id = static_cast<std::int32_t>(
                       json_integer(value["id"], place.key("id"), 0, static_cast<std::int64_t>(kMostTokens))),
                   .single_word = is("single_word"),
                   .lstrip = is("lstrip"),
                   .rstrip = is("rstrip"),
                   .normalized = is("normalized"),
                   .special = is("special"),
                   .normalized_form = {}};
  if (token.content.empty()) place.key("content").wrong("a text of one character or more", value["content"]);
  return token;
}

// What the decoder is given for an added token. One that stands in the text as it is must come back as it is, also when
// its characters spell bytes for ByteLevel, as é does; `tokenizers` gives U+FFFD then.
std::string decoded_form(const AddedToken& token, const std::vector<DecoderStep>& decoders) {
  const auto is_byte_level = [](const DecoderStep& step) { return std::holds_alternative<ByteLevelDecoder>(step); };
  if (std::none_of(decoders.begin(), decoders.end(), is_byte_level)) return token.normalized_form;
  std::string spelt;
  for (const char byte : token.normalized_form) spelt += byte_characters()[static_cast<unsigned char>(byte)];
  return spelt;
}

// `tokenizers` gives the id of the vocabulary to a token that is in it, and the next free id to any other. A file that
// says something else is refused. Returns the id of each.
void read_added_tokens(const json& value, const JsonPlace& place, const Vocabulary& ids, HuggingFaceParts& parts) {
  if (value.is_null()) return;
  json_array(value, place);
  std::unordered_set<std::string> contents;
  std::unordered_set<std::string> patterns[2];  // of those that are found in the text as it is, and normalised
  for (std::size_t i = 0; i < value.size(); ++i) {
    const JsonPlace at = place.index(i);
    AddedToken token = read_added_token(value[i], at);
    if (!contents.insert(token.content).second) at.key("content").wrong("a text that occurs once", value[i]["content"]);
    const auto found = ids.find(token.content);
    const auto expected = found != ids.end() ? found->second : static_cast<std::int32_t>(parts.tokens.size());
    if (token.id != expected) {
      at.key("id").wrong(
          std::to_string(expected) + (found != ids.end() ? ", that of the vocabulary" : ", the next free id"),
          value[i]["id"]);
    }
    if (found == ids.end()) parts.tokens.push_back(token.content);
    std::string scratch;
    token.normalized_form = token.content;
    if (token.normalized) token.normalized_form = normalize(parts.normalizers, token.content, scratch);
    if (token.normalized_form.empty() || !patterns[token.normalized ? 1 : 0].insert(token.normalized_form).second) {
      at.key("content").wrong("a text that the normalizers leave different from others and not empty",
                              value[i]["content"]);
    }
    parts.tokens[static_cast<std::size_t>(token.id)] = decoded_form(token, parts.decoders);
    parts.added.push_back(std::move(token));
  }
}

// Those that a template puts before and behind a text, by their names in the vocabulary.
void read_template(const json& value, const JsonPlace& place, std::vector<std::string>& before,
                   std::vector<std::string>& behind) {
  const json& single = json_array(json_at(value, place, "single"), place.key("single"));
  bool text_seen = false;
  for (std::size_t i = 0; i < single.size(); ++i) {
    const JsonPlace at = place.key("single").index(i);
    json_object(single[i], at);
    refuse_other_keys(single[i], at, {"Sequence", "SpecialToken"});
    if (single[i].contains("Sequence")) {
      text_seen = true;
      continue;
    }
    const JsonPlace token_place = at.key("SpecialToken");
    const json& token = json_object(json_at(single[i], at, "SpecialToken"), token_place);
    (text_seen ? behind : before).push_back(json_string(json_at(token, token_place, "id"), token_place.key("id")));
  }
}

void read_post_processor(const json& value, const JsonPlace& place, std::vector<std::string>& before,
                         std::vector<std::string>& behind, int depth = 0) {
  if (value.is_null()) return;
  json_object(value, place);
  const std::string& type =
      type_of(value, place, {"ByteLevel", "TemplateProcessing", "RobertaProcessing", "BertProcessing", "Sequence"});
  if (type == "TemplateProcessing") read_template(value, place, before, behind);
  if (type != "Sequence") return;
  if (depth > 4) place.fail(": at most 4 Sequences may stand within each other; there are more; write them as one");
  const JsonPlace list = place.key("processors");
  const json& processors = json_array(json_at(value, place, "processors"), list);
  for (std::size_t i = 0; i < processors.size(); ++i) {
    read_post_processor(processors[i], list.index(i), before, behind, depth + 1);
  }
}

// From the template; else by the names that are usual.
SpecialTokens special_tokens_of(const HuggingFaceParts& parts, const std::vector<std::string>& before,
                                const std::vector<std::string>& behind) {
  const auto first_of = [&](const std::vector<std::string>& names) -> std::optional<std::int32_t> {
    for (const std::string& name : names) {
      const auto found = std::find(parts.tokens.begin(), parts.tokens.end(), name);
      if (found != parts.tokens.end()) return static_cast<std::int32_t>(found - parts.tokens.begin());
    }
    return std::nullopt;
  };
  SpecialTokens special;
  special.start = first_of(before.empty() ? std::vector<std::string>{"<s>", "<|begin_of_text|>"} : before);
  special.end =
      first_of(behind.empty() ? std::vector<std::string>{"</s>", "<|end_of_text|>", "<|endoftext|>"} : behind);
  special.unknown = parts.model.unknown;
  special.padding = first_of({"<pad>", "[PAD]", "<|pad|>"});
  return special;
}

}  // namespace

const json& optional_key(const json& object, const std::string& key) {
  static const json none;
  const auto found = object.find(key);
  return found == object.end() ? none : *found;
}

void refuse_other_keys(const json& value, const JsonPlace& place, const std::vector<std::string>& keys) {
  for (const auto& item : json_object(value, place).items()) {
    if (std::find(keys.begin(), keys.end(), item.key()) != keys.end()) continue;
    raise<FormatError>(place.source, ": ", place.path.empty() ? "" : place.path + ": ", "unknown key ",
                       quote(item.key()), "; ", did_you_mean(item.key(), keys), "the keys are ", join(keys));
  }
}

const std::string& type_of(const json& value, const JsonPlace& place, const std::vector<std::string>& known) {
  const json& type = json_at(value, place, "type");
  const std::string& name = json_string(type, place.key("type"));
  if (std::find(known.begin(), known.end(), name) == known.end()) {
    raise<FormatError>(place.source, ": ", place.key("type").path, " must be ", known.size() > 1 ? "one of " : "",
                       join(known), "; found ", quote(name), ", which is not supported");
  }
  return name;
}

HuggingFaceParts read_hugging_face(const json& root, const std::string& source) {
  const JsonPlace place{source, ""};
  refuse_other_keys(root, place,
                    {"version", "truncation", "padding", "added_tokens", "normalizer", "pre_tokenizer",
                     "post_processor", "decoder", "model"});
  const json& version = optional_key(root, "version");
  if (!version.is_null() && version != "1.0") place.key("version").wrong("1.0", version);
  require_null(root, place, "truncation", "a text is encoded whole");
  require_null(root, place, "padding", "a text gets no further tokens");
  HuggingFaceParts parts;
  parts.normalizers = read_normalizers(optional_key(root, "normalizer"), place.key("normalizer"));
  parts.pre_tokenizers = read_pre_tokenizers(optional_key(root, "pre_tokenizer"), place.key("pre_tokenizer"));
  parts.decoders = read_decoders(optional_key(root, "decoder"), place.key("decoder"));
  const Vocabulary ids = read_model(json_at(root, place, "model"), place.key("model"), parts);
  read_added_tokens(optional_key(root, "added_tokens"), place.key("added_tokens"), ids, parts);
  std::vector<std::string> before;
  std::vector<std::string> behind;
  read_post_processor(optional_key(root, "post_processor"), place.key("post_processor"), before, behind);
  parts.special = special_tokens_of(parts, before, behind);
  return parts;
}

}  // namespace mixgrad
