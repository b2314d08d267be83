// Private to the reader of tokenizer.json: what needs the JSON library.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "nn/files/strict_json.h"
#include "nn/tokenizers/hugging_face/hugging_face_parts.h"

namespace mixgrad {

// From a parsed file, whose text is kept as it is. FormatError.
TokenizerPtr hugging_face_tokenizer(const nlohmann::json& root, std::string_view json, const std::string& source);

// The whole file; hugging_face_reader.cpp.
HuggingFaceParts read_hugging_face(const nlohmann::json& root, const std::string& source);

// The parts of it that are lists of steps; hugging_face_steps.cpp. `null` is none.
std::vector<Normalizer> read_normalizers(const nlohmann::json& value, const JsonPlace& place);
std::vector<PreTokenizer> read_pre_tokenizers(const nlohmann::json& value, const JsonPlace& place);
std::vector<DecoderStep> read_decoders(const nlohmann::json& value, const JsonPlace& place);

// The value of a key, or `none` where it is absent.
const nlohmann::json& optional_key(const nlohmann::json& object, const std::string& key);
// FormatError for a key that is none of these.
void refuse_other_keys(const nlohmann::json& value, const JsonPlace& place, const std::vector<std::string>& keys);
// The "type" of a part. FormatError that lists the types which this library knows when it is another.
const std::string& type_of(const nlohmann::json& value, const JsonPlace& place, const std::vector<std::string>& known);

}  // namespace mixgrad
