// Writes a sequence of token ids as shards of equal size (nn/data/token_shards.h).
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "nn/data/token_shards.h"

namespace mixgrad {

class ShardWriter {
 public:
  // Files NAME-00000.u16 (.u32 with a width of 4) and so on in `folder`, each of `shard_tokens` tokens but the last.
  ShardWriter(std::filesystem::path folder, std::string name, std::size_t width, std::int64_t shard_tokens);

  void add(std::span<const std::int32_t> ids);  // IoError
  void finish();                                // writes what is left
  std::int64_t tokens() const { return tokens_; }
  const std::vector<ShardEntry>& shards() const { return shards_; }

 private:
  void write();

  std::filesystem::path folder_;
  std::string name_;
  std::size_t width_;
  std::int64_t shard_tokens_;
  std::string bytes_;  // of the shard that is being filled
  std::int64_t tokens_ = 0;
  std::vector<ShardEntry> shards_;
};

}  // namespace mixgrad
