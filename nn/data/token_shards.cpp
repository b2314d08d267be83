#include "nn/data/token_shards.h"

#include <algorithm>
#include <cstring>

#include "core/error.h"
#include "core/system/interrupt.h"
#include "nn/data/readers/byte_reader.h"
#include "nn/files/hash.h"

namespace mixgrad {
namespace {

constexpr std::size_t kVerifiedAtOnce = std::size_t{1} << 20U;  // bytes

template <class T>
std::int64_t largest_id(std::string_view bytes) {
  std::int64_t largest = -1;
  for (std::size_t at = 0; at < bytes.size(); at += sizeof(T)) {
    largest = std::max<std::int64_t>(largest, ByteReader::number<T>(bytes.substr(at, sizeof(T)), false));
  }
  return largest;
}

std::string hash_of(const MappedFile& file, std::size_t width, std::int64_t vocab) {
  Xxh3 hash;
  for (std::size_t at = 0; at < file.size(); at += kVerifiedAtOnce) {
    check_interrupt();
    const std::string_view piece = file.text().substr(at, kVerifiedAtOnce);
    hash.add(piece.data(), piece.size());
    const std::int64_t largest = width == 2 ? largest_id<std::uint16_t>(piece) : largest_id<std::uint32_t>(piece);
    if (largest >= vocab) {
      raise<FormatError>(file.path(), ": every token must be below the vocabulary of ", vocab, "; one is ", largest,
                         "; prepare the data again");
    }
    file.forget(at + piece.size());
  }
  file.require_whole();
  return hash.hex();
}

}  // namespace

TokenShards TokenShards::open(const std::filesystem::path& folder, const std::vector<ShardEntry>& entries,
                              std::size_t width, std::int64_t vocab, VerifyShards verify) {
  MIXGRAD_ASSERT(width == 2 || width == 4, "ids of 16 or 32 bits");
  TokenShards shards;
  shards.width_ = width;
  std::int64_t begin = 0;
  for (const ShardEntry& entry : entries) {
    MappedFile file = MappedFile::open(folder / entry.file);
    if (file.size() != static_cast<std::uint64_t>(entry.tokens) * width) {
      raise<FormatError>(file.path(), ": the manifest promises ", entry.tokens, " tokens of ", width,
                         " bytes; the file has ", file.size(), " bytes; prepare the data again");
    }
    shards.checked_write_.push_back(file.last_write());
    if (verify == VerifyShards::yes && hash_of(file, width, vocab) != entry.xxh3) {
      raise<FormatError>(file.path(), ": the content must be the one that the manifest names (XXH3 ", entry.xxh3,
                         "); it is another; prepare the data again");
    }
    shards.files_.push_back(std::move(file));
    shards.hashes_.push_back(entry.xxh3);
    shards.begins_.push_back(begin);
    begin += entry.tokens;
  }
  shards.begins_.push_back(begin);
  return shards;
}

void TokenShards::require_same(std::size_t shard) const {
  const MappedFile& file = files_[shard];
  file.require_whole();
  const std::int64_t now = file.last_write();
  if (now == checked_write_[shard]) return;
  if (xxh3_hex(file.text()) != hashes_[shard]) {
    raise<IoError>(file.path(), ": the shard must stay as it is while it is read; it was overwritten with another ",
                   "content; prepare the data again");
  }
  checked_write_[shard] = now;
}

void TokenShards::gather(std::int64_t begin, std::int64_t count, std::int32_t* out) const {
  MIXGRAD_ASSERT(begin >= 0 && count >= 0 && begin <= size() && count <= size() - begin, "a range within the tokens");
  if (count == 0) return;
  auto shard =
      static_cast<std::size_t>(std::upper_bound(begins_.begin(), begins_.end() - 1, begin) - begins_.begin()) - 1;
  for (; count > 0; ++shard) {
    const std::int64_t from = begin - begins_[shard];
    const std::int64_t here = std::min(count, begins_[shard + 1] - begin);
    const char* bytes = files_[shard].text().data() + static_cast<std::size_t>(from) * width_;
    for (std::int64_t i = 0; i < here; ++i, bytes += width_) {
      const std::string_view one(bytes, width_);
      out[i] = width_ == 2 ? ByteReader::number<std::uint16_t>(one, false)
                           : static_cast<std::int32_t>(ByteReader::number<std::uint32_t>(one, false));
    }
    require_same(shard);
    begin += here;
    out += here;
    count -= here;
  }
}

}  // namespace mixgrad
