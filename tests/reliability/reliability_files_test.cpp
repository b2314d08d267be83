// Files that are not what they should be: cut anywhere, a byte changed anywhere, and wrong in every field.
#include <doctest/doctest.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <functional>
#include <new>
#include <random>

#include "core/allocator.h"
#include "nn/files/generations.h"
#include "nn/training/checkpoint.h"
#include "nn/training/optimizers/adamw.h"
#include "tests/support/reliability.h"

#if !defined(MIXGRAD_SANITIZED)
namespace {
std::atomic<std::size_t> g_largest{0};
}
// The largest single request since it was set to zero, of the whole test program. Not inlined: GCC would take the pairs
// of malloc and delete for mistakes.
__attribute__((noinline)) void* operator new(std::size_t bytes) {
  std::size_t largest = g_largest.load(std::memory_order_relaxed);
  while (bytes > largest && !g_largest.compare_exchange_weak(largest, bytes, std::memory_order_relaxed)) {
  }
  void* memory = std::malloc(std::max<std::size_t>(bytes, 1));
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}
__attribute__((noinline)) void operator delete(void* memory) noexcept { std::free(memory); }
__attribute__((noinline)) void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }
#endif

namespace mixgrad::test {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kRoom = std::size_t{1} << 20U;  // more than a refusal needs: the character table, the message

void forget_allocations() {
#if !defined(MIXGRAD_SANITIZED)
  g_largest = 0;
#endif
}
std::size_t largest_allocation() {
#if !defined(MIXGRAD_SANITIZED)
  return g_largest;
#else
  return 0;
#endif
}

const std::vector<std::string> kFiles{"config.json", "tokenizer.json", "trainer.json", "model.safetensors",
                                      "optimizer.safetensors"};

// A small generation, and what loading it gives once a file of it has been replaced.
class SmallGeneration {
 public:
  SmallGeneration() {
    const std::string options =
        " --steps 3 --stop-after 2 --d-model 4 --heads 1 --d-ff 4 --context 4 --batch 1 --vocab 20 ";
    REQUIRE(run_program(tiny_run(folder_, "run", options + "--mixer hsm:vector(heads=1,proj=v)")).code == 0);
    generation = folder_ / "run" / "step-2";
    for (const std::string& file : kFiles) original[file] = TempFolder::get(generation / file);
  }

  // The refusal, "" when all was read.
  std::string load(const std::string& file, const std::string& content) {
    folder_.put("run/step-2/" + file, content);
    const std::string why = unreadable(generation);
    folder_.put("run/step-2/" + file, original[file]);
    return why;
  }

  // Everything that a generation means: its state and the bits of its tensors.
  std::string meaning() const {
    const Checkpoint checkpoint = load_checkpoint(generation, DType::f32);
    const TrainerState state = load_trainer_state(generation);
    AdamW optimizer(checkpoint.model->parameters(), {});
    load_optimizer(generation, state, optimizer);
    std::string text = to_json(state) + to_json(checkpoint.model->config()) + checkpoint.tokenizer->to_json();
    for (const Tensor& tensor :
         {checkpoint.model->parameters().flat(), optimizer.first_moment(), optimizer.second_moment()}) {
      text.append(static_cast<const char*>(tensor.raw()), tensor.bytes());
    }
    return text + std::to_string(optimizer.steps());
  }

  fs::path generation;
  std::map<std::string, std::string> original;

 private:
  TempFolder folder_;
};

TEST_CASE("reliability: every byte-prefix of a checkpoint is refused") {
  SmallGeneration small;
  REQUIRE(unreadable(small.generation) == "");
  int cut = 0;
  int refused = 0;
  for (const std::string& file : kFiles) {
    const std::string whole = small.original[file];
    const std::size_t stride = long_run() ? 1 : 7;
    for (std::size_t size = 0; size < whole.size(); size += stride) {
      CAPTURE(file);
      CAPTURE(size);
      const std::string why = small.load(file, whole.substr(0, size));
      CHECK(why != "");
      CHECK(has(why, file));
      ++cut;
      refused += why.empty() ? 0 : 1;
    }
  }
  figure("every byte-prefix of each file of a small checkpoint",
         std::to_string(cut) + " files, " + std::to_string(refused) + " refused");
}

TEST_CASE("reliability: a byte that changes anywhere is found, or means the same") {
  SmallGeneration small;
  const std::string meaning = small.meaning();
  std::mt19937 random(3);
  int changed = 0;
  int refused = 0;
  int same = 0;
  for (const std::string& file : kFiles) {
    const std::string whole = small.original[file];
    for (std::size_t at = 0; at < whole.size(); at += long_run() ? 1 : 7) {
      std::string content = whole;
      content[at] = static_cast<char>(content[at] ^ static_cast<char>(1U << (random() % 8)));
      CAPTURE(file);
      CAPTURE(at);
      ++changed;
      if (!small.load(file, content).empty()) {
        ++refused;
        continue;
      }
      std::ofstream(small.generation / file, std::ios::binary) << content;
      const bool equal = small.meaning() == meaning;  // a blank that became another blank
      std::ofstream(small.generation / file, std::ios::binary) << whole;
      CHECK(equal);
      same += equal ? 1 : 0;
    }
  }
  CHECK(refused + same == changed);
  figure("one bit flipped in each byte of a small checkpoint",
         std::to_string(changed) + " files, " + std::to_string(refused) + " refused, " + std::to_string(same) +
             " of the same meaning (a blank)");
}

using Mutation = std::pair<const char*, std::function<void(Json& parent, const std::string& key)>>;

// What can be wrong with the value of a key.
std::vector<Mutation> mutations() {
  return {{"missing", [](Json& parent, const std::string& key) { parent.erase(key); }},
          {"misspelt",
           [](Json& parent, const std::string& key) {
             parent[key + "x"] = parent[key];
             parent.erase(key);
           }},
          {"an object",
           [](Json& parent, const std::string& key) {
             parent[key] = {{"x", 1}};
           }},
          {"of a wrong type",
           [](Json& parent, const std::string& key) {
             parent[key].is_string() ? parent[key] = 12.5 : parent[key] = "twelve";
           }},
          {"negative", [](Json& parent, const std::string& key) { parent[key] = -1; }},
          {"huge", [](Json& parent, const std::string& key) { parent[key] = 1e300; }},
          {"2^63", [](Json& parent, const std::string& key) { parent[key] = std::uint64_t{1} << 63U; }}};
}

std::string safetensors_of(const Json& header, const std::string& data) {
  const std::string text = header.dump();
  const std::uint64_t length = text.size();
  std::string content(8, '\0');
  std::memcpy(content.data(), &length, sizeof length);
  return content + text + data;
}

TEST_CASE("reliability: files wrong in one field are refused, name it, and allocate nothing for it") {
  SmallGeneration small;
  int files = 0;
  int refused = 0;
  int sums = 0;
  std::size_t largest = 0;
  const auto check = [&](const std::string& file, const std::string& content, const std::string& field,
                         const std::string& what) {
    INFO(file << ": " << field << " " << what);
    std::size_t blocks = 0;
    std::size_t room = kRoom + content.size();
    std::string why;
    {
      pool_trim(kCpu);
      forget_allocations();
      const std::size_t before = pool_stats(kCpu).in_use;
      pool_reset_peak(kCpu);
      why = small.load(file, content);
      blocks = pool_stats(kCpu).peak - before;
    }
    INFO(why);
    CHECK(has(why, file));
    // A number that could be right but is not that of this run: only the checksum tells.
    const bool by_checksum = has(why, "XXH3 ") || has(why, "xxh3 must be");
    const bool named = has(why, field) || by_checksum;
    CHECK(named);
    CHECK(largest_allocation() < room);
    CHECK(blocks < kRoom);  // at most the small model itself, when it is the optimizer's file that is wrong
    largest = std::max({largest, largest_allocation(), blocks});
    ++files;
    refused += has(why, file) && named ? 1 : 0;
    sums += by_checksum && !has(why, field) ? 1 : 0;
  };

  for (const std::string file : {"config.json", "trainer.json"}) {
    const Json good = json_of(small.original[file]);
    const auto every_key = [&](const Json& object, const std::function<Json&(Json&)>& inside) {
      for (const auto& item : object.items()) {
        for (const auto& [what, mutate] : mutations()) {
          Json bad = good;
          mutate(inside(bad), item.key());
          if (bad == good || (item.key() == "counter" && std::string(what) == "2^63")) continue;
          if (item.key() == "seed" && std::string(what) == "2^63") continue;
          check(file, bad.dump(2) + "\n", item.key(), what);
        }
        std::string twice = good.dump(2) + "\n";
        const std::string entry = "\"" + item.key() + "\":";
        twice.insert(twice.find(entry), entry + " 1, ");
        check(file, twice, item.key(), "twice");
      }
    };
    every_key(good, [](Json& root) -> Json& { return root; });
    if (file == "config.json") {
      every_key(good["layers"][0], [](Json& root) -> Json& { return root["layers"][0]; });
    } else {
      for (const std::string key : {"rng", "text", "best", "last", "schedule", "lineage"}) {
        every_key(good[key], [key](Json& root) -> Json& { return root[key]; });
      }
    }
  }
  for (const std::string file : {"model.safetensors", "optimizer.safetensors"}) {
    const std::string& whole = small.original[file];
    std::uint64_t length = 0;
    std::memcpy(&length, whole.data(), sizeof length);
    const Json good = json_of(whole.substr(8, length));
    const std::string data = whole.substr(8 + length);
    for (const auto& item : good.items()) {
      if (item.key() == "__metadata__") continue;
      for (const std::string field : {"dtype", "shape", "data_offsets"}) {
        for (const auto& [what, mutate] : mutations()) {
          Json bad = good;
          mutate(bad[item.key()], field);
          check(file, safetensors_of(bad, data), item.key(), field + " " + what);
        }
      }
      Json bad = good;
      bad[item.key()]["shape"] = {std::int64_t{1} << 62, 2};
      check(file, safetensors_of(bad, data), item.key(), "a shape that no memory holds");
      bad = good;
      bad[item.key()]["data_offsets"][1] = std::int64_t{1} << 40;
      check(file, safetensors_of(bad, data), item.key(), "an end beyond the file");
      bad = good;
      bad["__metadata__"]["xxh3:" + item.key()] = "0123456789abcdef";
      check(file, safetensors_of(bad, data), item.key(), "another hash");
      bad = good;
      bad["__metadata__"].erase("xxh3:" + item.key());
      check(file, safetensors_of(bad, data), item.key(), "no hash");
    }
  }
  CHECK(files >= 200);
  figure("hand-made malformed files, one wrong field each",
         std::to_string(files) + " files, " + std::to_string(refused) +
             " refused: file and field named, or of a possible value the " + "checksum (" + std::to_string(sums) +
             "); largest allocation " + std::to_string(largest / 1024) + " KiB");
}

}  // namespace
}  // namespace mixgrad::test
