// Token ids in mapped files, the shards, one after another: data of any size without reading it into memory.
//
//   const TokenShards shards = TokenShards::open("data/", manifest.shards, 2, VerifyShards::yes);
//   shards.gather(begin, count, out);
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "nn/files/file.h"

namespace mixgrad {

struct ShardEntry {
  std::string file;         // in the folder of the manifest
  std::int64_t tokens = 0;  // at least one
  std::string xxh3;         // of its bytes
  friend bool operator==(const ShardEntry&, const ShardEntry&) = default;
};

enum class VerifyShards : std::uint8_t { no, yes };  // whether every byte is read and compared with the hash

class TokenShards {
 public:
  // Little-endian ids of `width` bytes, 2 or 4. IoError: a shard that is not there. FormatError: one of another size,
  // or, when verified, with another hash. A verified one whose ids are not below `vocab` is a FormatError too.
  static TokenShards open(const std::filesystem::path& folder, const std::vector<ShardEntry>& entries,
                          std::size_t width, std::int64_t vocab, VerifyShards verify);

  std::int64_t size() const { return begins_.empty() ? 0 : begins_.back(); }
  // Copies ids [begin, begin + count) to out. Allocates nothing. IoError when somebody has overwritten or truncated a
  // shard since it was opened; a rename over it changes nothing. After a write the shard is hashed once.
  void gather(std::int64_t begin, std::int64_t count, std::int32_t* out) const;

 private:
  void require_same(std::size_t shard) const;

  std::size_t width_ = 2;
  std::vector<MappedFile> files_;
  std::vector<std::string> hashes_;
  std::vector<std::int64_t> begins_;                 // of each shard, and the size
  mutable std::vector<std::int64_t> checked_write_;  // the last write up to which a shard's content is the right one
};

}  // namespace mixgrad
