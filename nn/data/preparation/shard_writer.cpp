#include "nn/data/preparation/shard_writer.h"

#include <cstdio>
#include <utility>

#include "nn/files/file.h"
#include "nn/files/hash.h"

namespace mixgrad {

ShardWriter::ShardWriter(std::filesystem::path folder, std::string name, std::size_t width, std::int64_t shard_tokens)
    : folder_(std::move(folder)), name_(std::move(name)), width_(width), shard_tokens_(shard_tokens) {}

void ShardWriter::add(std::span<const std::int32_t> ids) {
  const std::size_t full = static_cast<std::size_t>(shard_tokens_) * width_;
  for (const std::int32_t id : ids) {
    for (std::size_t i = 0; i < width_; ++i) {
      bytes_ += static_cast<char>(static_cast<std::uint32_t>(id) >> (8 * i) & 0xffU);
    }
    if (bytes_.size() >= full) write();
  }
  tokens_ += static_cast<std::int64_t>(ids.size());
}

void ShardWriter::finish() {
  if (!bytes_.empty()) write();
}

void ShardWriter::write() {
  char number[32];
  std::snprintf(number, sizeof number, "-%05zu%s", shards_.size(), width_ == 2 ? ".u16" : ".u32");
  const std::string file = name_ + number;
  write_file_once(folder_ / file, bytes_);
  shards_.push_back({file, static_cast<std::int64_t>(bytes_.size() / width_), xxh3_hex(bytes_)});
  bytes_.clear();
}

}  // namespace mixgrad
