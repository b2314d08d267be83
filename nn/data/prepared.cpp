#include "nn/data/prepared.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/text/suggest.h"
#include "nn/files/file.h"
#include "nn/files/hash.h"
#include "nn/files/strict_json.h"
#include "nn/tokenizers/tokenizer_types.h"

namespace mixgrad {
namespace {

constexpr const char* kPreparedFormat = "mixgrad-data-1";
constexpr std::int64_t kMostTokens = INT64_C(1) << 60U;

ShardEntry parse_shard(const nlohmann::json& value, const JsonPlace& place) {
  json_exact_keys(value, place, {"file", "tokens", "xxh3"});
  ShardEntry entry;
  entry.file = json_string(value.at("file"), place.key("file"));
  if (entry.file.empty() || entry.file.find('/') != std::string::npos || entry.file.starts_with('.')) {
    place.key("file").wrong("the name of a file in this folder", value.at("file"));
  }
  entry.tokens = json_integer(value.at("tokens"), place.key("tokens"), 1, kMostTokens);
  entry.xxh3 = json_string(value.at("xxh3"), place.key("xxh3"));
  if (!is_xxh3_hex(entry.xxh3)) place.key("xxh3").wrong("16 hexadecimal digits", value.at("xxh3"));
  return entry;
}

}  // namespace

std::string to_json(const PreparedManifest& manifest) {
  nlohmann::ordered_json json;
  json["format"] = kPreparedFormat;
  json["width"] = manifest.width;
  json["vocab_size"] = manifest.vocab_size;
  json["tokens"] = manifest.tokens;
  json["train_tokens"] = manifest.train_tokens;
  json["valid_apart"] = manifest.valid_apart;
  json["documents"] = manifest.documents;
  json["shortest"] = manifest.shortest;
  json["longest"] = manifest.longest;
  json["rate"] = manifest.rate;
  json["source"] = {{"files", manifest.source_files}, {"bytes", manifest.source_bytes}};
  json["tokenizer_xxh3"] = manifest.tokenizer_xxh3;
  if (manifest.document_token) json["document_token"] = *manifest.document_token;
  json["shards"] = nlohmann::ordered_json::array();
  for (const ShardEntry& entry : manifest.shards) {
    json["shards"].push_back({{"file", entry.file}, {"tokens", entry.tokens}, {"xxh3", entry.xxh3}});
  }
  return json.dump(1) + "\n";
}

PreparedManifest parse_manifest(std::string_view text, const std::string& source) {
  const nlohmann::json json = parse_strict_json(text, source);
  const JsonPlace place{source, ""};
  json_exact_keys(json, place,
                  {"format", "width", "vocab_size", "tokens", "train_tokens", "valid_apart", "documents", "shortest",
                   "longest", "rate", "source", "tokenizer_xxh3", "shards"},
                  {"document_token"});
  if (json.at("format") != kPreparedFormat) place.key("format").wrong(quote(kPreparedFormat), json.at("format"));
  const auto count = [&](const char* name, std::int64_t low, std::int64_t high) {
    return json_integer(json.at(name), place.key(name), low, high);
  };
  PreparedManifest manifest;
  manifest.width = static_cast<std::size_t>(count("width", 2, 4));
  if (manifest.width == 3) place.key("width").wrong("2 or 4", json.at("width"));
  manifest.vocab_size = count("vocab_size", 1, INT32_MAX);
  manifest.tokens = count("tokens", 2, kMostTokens);
  manifest.train_tokens = count("train_tokens", 0, manifest.tokens);
  manifest.valid_apart = json_bool(json.at("valid_apart"), place.key("valid_apart"));
  manifest.documents = count("documents", 0, kMostTokens);
  manifest.shortest = count("shortest", 0, manifest.tokens);
  manifest.longest = count("longest", manifest.shortest, manifest.tokens);
  manifest.rate = count("rate", 0, UINT32_MAX);
  const JsonPlace of_source = place.key("source");
  json_exact_keys(json.at("source"), of_source, {"files", "bytes"});
  manifest.source_files = json_integer(json.at("source").at("files"), of_source.key("files"), 1, kMostTokens);
  manifest.source_bytes = json_integer(json.at("source").at("bytes"), of_source.key("bytes"), 0, INT64_MAX);
  manifest.tokenizer_xxh3 = json_string(json.at("tokenizer_xxh3"), place.key("tokenizer_xxh3"));
  if (json.contains("document_token")) {
    manifest.document_token = static_cast<std::int32_t>(count("document_token", 0, manifest.vocab_size - 1));
  }
  std::int64_t tokens = 0;
  const nlohmann::json& shards = json_array(json.at("shards"), place.key("shards"));
  for (std::size_t i = 0; i < shards.size(); ++i) {
    manifest.shards.push_back(parse_shard(shards[i], place.key("shards").index(i)));
    tokens += std::min(manifest.shards.back().tokens, kMostTokens - tokens);
  }
  if (tokens != manifest.tokens) place.key("tokens").fail(" must be those of all shards, " + std::to_string(tokens));
  return manifest;
}

bool is_prepared(const std::filesystem::path& path) {
  std::error_code error;
  return !path.empty() && std::filesystem::is_regular_file(path / kManifestName, error);
}

PreparedManifest read_manifest(const std::filesystem::path& folder) {
  const std::filesystem::path path = folder / kManifestName;
  return parse_manifest(read_text(path), path.string());
}

TokenizerPtr read_prepared_tokenizer(const std::filesystem::path& folder, const PreparedManifest& manifest) {
  const std::filesystem::path path = folder / "tokenizer.json";
  const std::string text = read_text(path);
  if (xxh3_hex(text) != manifest.tokenizer_xxh3) {
    raise<FormatError>(path.string(), ": the tokenizer must be the one that the manifest names; it is another; ",
                       "prepare the data again");
  }
  TokenizerPtr tokenizer = load_tokenizer(text, path.string());
  if (tokenizer->vocab_size() != manifest.vocab_size) {
    raise<FormatError>(path.string(), ": the tokenizer must have the ", manifest.vocab_size,
                       " tokens that the manifest names; it has ", tokenizer->vocab_size(), "; prepare the data again");
  }
  return tokenizer;
}

TokenData open_prepared(const std::filesystem::path& folder, Identify identify) {
  const std::filesystem::path path = folder / kManifestName;
  const std::string text = read_text(path);
  const PreparedManifest manifest = parse_manifest(text, path.string());
  TokenizerPtr tokenizer = read_prepared_tokenizer(folder, manifest);
  TokenShards shards = TokenShards::open(folder, manifest.shards, manifest.width, manifest.vocab_size,
                                         identify == Identify::yes ? VerifyShards::yes : VerifyShards::no);
  std::optional<TextId> id;
  if (identify == Identify::yes) {
    id = TextId{static_cast<std::uint64_t>(manifest.tokens) * manifest.width, xxh3_hex(text)};
  }
  return TokenData::from_shards(std::move(shards),
                                {.train = manifest.train_tokens,
                                 .valid_apart = manifest.valid_apart,
                                 .source = folder.string(),
                                 .id = std::move(id)},
                                std::move(tokenizer));
}

}  // namespace mixgrad
