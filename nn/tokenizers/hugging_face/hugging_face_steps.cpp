// The normalizers, pre-tokenizers and decoders of a tokenizer.json.
#include "core/error.h"
#include "core/text/suggest.h"
#include "core/text/utf8.h"
#include "nn/tokenizers/hugging_face/hugging_face_internal.h"

namespace mixgrad {
namespace {

using nlohmann::json;

// Calls read(part, place) for each part of a Sequence, or for the part that is none.
template <class Read>
void for_each_step(const json& value, const JsonPlace& place, const char* list, const Read& read, int depth = 0) {
  if (value.is_null()) return;
  json_object(value, place);
  const json& type = json_at(value, place, "type");
  if (!type.is_string() || type.get_ref<const std::string&>() != "Sequence") {
    read(value, place);
    return;
  }
  if (depth > 4) place.fail(": at most 4 Sequences may stand within each other; there are more; write them as one");
  refuse_other_keys(value, place, {"type", list});
  const JsonPlace parts = place.key(list);
  const json& steps = json_array(json_at(value, place, list), parts);
  for (std::size_t i = 0; i < steps.size(); ++i) for_each_step(steps[i], parts.index(i), list, read, depth + 1);
}

// {"String": "..."}; not empty.
const std::string& pattern_text(const json& value, const JsonPlace& place) {
  const json& pattern = json_at(value, place, "pattern");
  const JsonPlace at = place.key("pattern");
  json_object(pattern, at);
  refuse_other_keys(pattern, at, {"String"});
  const std::string& text = json_string(json_at(pattern, at, "String"), at.key("String"));
  if (text.empty()) at.key("String").wrong("a text of one character or more", pattern["String"]);
  return text;
}

const std::string& one_character(const json& value, const JsonPlace& place, const std::string& key) {
  const json& given = json_at(value, place, key);
  const std::string& text = json_string(given, place.key(key));
  std::size_t end = 0;
  if (text.empty() || next_code_point(text, end) < 0 || end != text.size()) {
    place.key(key).wrong("a text of one character", given);
  }
  return text;
}

bool flag(const json& value, const JsonPlace& place, const std::string& key, bool otherwise) {
  const json& given = optional_key(value, key);
  return given.is_null() ? otherwise : json_bool(given, place.key(key));
}

ReplaceNormalizer replace_of(const json& value, const JsonPlace& place) {
  refuse_other_keys(value, place, {"type", "pattern", "content"});
  return {pattern_text(value, place), json_string(json_at(value, place, "content"), place.key("content"))};
}

// Also of the decoder.
struct Metaspace {
  std::string replacement;
  MetaspaceStep::Prepend prepend;
  bool split;
};

Metaspace metaspace_of(const json& value, const JsonPlace& place) {
  refuse_other_keys(value, place, {"type", "replacement", "prepend_scheme", "split", "add_prefix_space", "str_rep"});
  const std::string& replacement = one_character(value, place, "replacement");
  const json& scheme = optional_key(value, "prepend_scheme");
  MetaspaceStep::Prepend prepend = MetaspaceStep::Prepend::always;
  if (scheme == "first") {
    prepend = MetaspaceStep::Prepend::first;
  } else if (scheme == "never") {
    prepend = MetaspaceStep::Prepend::never;
  } else if (!scheme.is_null() && scheme != "always") {
    place.key("prepend_scheme").wrong("always, first or never", scheme);
  }
  if (!flag(value, place, "add_prefix_space", true) && prepend != MetaspaceStep::Prepend::never) {
    place.key("add_prefix_space").fail(" must be true unless prepend_scheme is never; found false; correct the file");
  }
  return {replacement, prepend, flag(value, place, "split", true)};
}

PreTokenizer split_of(const json& value, const JsonPlace& place) {
  refuse_other_keys(value, place, {"type", "pattern", "behavior", "invert"});
  const JsonPlace at = place.key("pattern");
  const json& pattern = json_object(json_at(value, place, "pattern"), at);
  refuse_other_keys(pattern, at, {"Regex"});
  const std::string& regex = json_string(json_at(pattern, at, "Regex"), at.key("Regex"));
  const auto known = split_pattern_of_regex(regex);
  if (!known) {
    raise<FormatError>(place.source, ": ", at.key("Regex").path,
                       " must be the pattern of GPT-2, Llama-3 or Qwen2; found ", quote(regex, 120),
                       ", which is not supported");
  }
  // These patterns match all of a text, so that both forms give the matches.
  const std::string& behavior = json_string(json_at(value, place, "behavior"), place.key("behavior"));
  const bool invert = json_bool(json_at(value, place, "invert"), place.key("invert"));
  if (behavior == "Isolated" || (behavior == "Removed" && invert)) return SplitStep{*known};
  place.key("behavior").wrong(invert ? "Isolated or Removed" : "Isolated", value["behavior"]);
}

ByteLevelStep byte_level_of(const json& value, const JsonPlace& place) {
  refuse_other_keys(value, place, {"type", "add_prefix_space", "trim_offsets", "use_regex"});
  flag(value, place, "trim_offsets", true);  // changes no id
  return {.add_prefix_space = flag(value, place, "add_prefix_space", true),
          .use_regex = flag(value, place, "use_regex", true)};
}

StripDecoder strip_of(const json& value, const JsonPlace& place) {
  refuse_other_keys(value, place, {"type", "content", "start", "stop"});
  const auto count = [&](const char* key) {
    return static_cast<std::size_t>(json_integer(json_at(value, place, key), place.key(key), 0, 1000));
  };
  return {one_character(value, place, "content"), count("start"), count("stop")};
}

}  // namespace

std::vector<Normalizer> read_normalizers(const json& value, const JsonPlace& root) {
  std::vector<Normalizer> steps;
  for_each_step(value, root, "normalizers", [&](const json& step, const JsonPlace& place) {
    const std::string& type = type_of(step, place, {"Sequence", "Prepend", "Replace", "NFC"});
    if (type == "Prepend") {
      refuse_other_keys(step, place, {"type", "prepend"});
      steps.emplace_back(PrependNormalizer{json_string(json_at(step, place, "prepend"), place.key("prepend"))});
    } else if (type == "Replace") {
      steps.emplace_back(replace_of(step, place));
    } else {
      MIXGRAD_ASSERT(type == "NFC", "every known type is handled");
      refuse_other_keys(step, place, {"type"});
      steps.emplace_back(NfcNormalizer{});
    }
  });
  return steps;
}

std::vector<PreTokenizer> read_pre_tokenizers(const json& value, const JsonPlace& root) {
  std::vector<PreTokenizer> steps;
  for_each_step(value, root, "pretokenizers", [&](const json& step, const JsonPlace& place) {
    if (!steps.empty() && std::holds_alternative<ByteLevelStep>(steps.back())) {
      place.fail(": behind ByteLevel no pre-tokenizer is supported; found one; correct the file");
    }
    const std::string& type = type_of(step, place, {"Sequence", "ByteLevel", "Split", "Metaspace"});
    if (type == "Split") {
      steps.push_back(split_of(step, place));
    } else if (type == "ByteLevel") {
      steps.emplace_back(byte_level_of(step, place));
    } else {
      MIXGRAD_ASSERT(type == "Metaspace", "every known type is handled");
      const Metaspace given = metaspace_of(step, place);
      if (given.prepend == MetaspaceStep::Prepend::first && !steps.empty()) {
        place.fail(
            ": with prepend_scheme first, Metaspace must be the first pre-tokenizer; others stand before it; "
            "correct the file");
      }
      steps.emplace_back(MetaspaceStep{given.replacement, given.prepend, given.split});
    }
  });
  return steps;
}

std::vector<DecoderStep> read_decoders(const json& value, const JsonPlace& root) {
  if (value.is_null()) return {SpaceDecoder{}};
  std::vector<DecoderStep> steps;
  bool fused = false;
  for_each_step(value, root, "decoders", [&](const json& step, const JsonPlace& place) {
    const std::string& type =
        type_of(step, place, {"Sequence", "Replace", "ByteFallback", "Fuse", "Strip", "ByteLevel", "Metaspace"});
    if (!steps.empty() && std::holds_alternative<ByteFallbackDecoder>(steps.back()) && type != "Fuse") {
      place.fail(": behind ByteFallback only Fuse is supported; found " + quote(type) + "; correct the file");
    }
    if (fused && (type == "ByteFallback" || type == "ByteLevel")) {
      place.fail(": " + type + " is supported before Fuse and ByteLevel only; found behind one; correct the file");
    }
    if (type == "Replace") {
      const ReplaceNormalizer given = replace_of(step, place);
      steps.emplace_back(ReplaceDecoder{given.pattern, given.content});
    } else if (type == "Strip") {
      steps.emplace_back(strip_of(step, place));
    } else if (type == "Metaspace") {
      const Metaspace given = metaspace_of(step, place);
      steps.emplace_back(MetaspaceDecoder{given.replacement, given.prepend != MetaspaceStep::Prepend::never});
    } else if (type == "ByteLevel") {
      byte_level_of(step, place);  // its fields change nothing here
      steps.emplace_back(ByteLevelDecoder{});
      fused = true;
    } else if (type == "ByteFallback") {
      refuse_other_keys(step, place, {"type"});
      steps.emplace_back(ByteFallbackDecoder{});
    } else {
      MIXGRAD_ASSERT(type == "Fuse", "every known type is handled");
      refuse_other_keys(step, place, {"type"});
      steps.emplace_back(FuseDecoder{});
      fused = true;
    }
  });
  return steps;
}

}  // namespace mixgrad
