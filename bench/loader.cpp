// Times how long drawing batches takes, of each kind of data and of tasks: microseconds a batch, and million tokens a
// second. Compare with a training step (`mixgrad bench train`, docs/performance.md): the loader is the bottleneck where
// it takes longer.
//   cmake --build --preset cpu --target bench_loader && build/cpu/bin/bench_loader [BATCH CONTEXT [FILES OR FOLDERS]]
// Without files, and from the folder of the repository: the shipped text mapped, as ids in memory, and prepared. Then
// every task.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "apps/output/clock.h"
#include "core/error.h"
#include "core/rng.h"
#include "core/text/parse_number.h"
#include "nn/data/data_set.h"
#include "nn/data/preparation/prepare.h"
#include "nn/data/task_batches.h"
#include "nn/data/token_data.h"

namespace mixgrad {
namespace {

struct Size {
  std::int64_t batch = 64, context = 256;
};

void time_batches(const std::string& name, const BatchStream& data, Size size) {
  const Tensor tokens = Tensor::empty({size.batch, size.context}, DType::i32);
  const Tensor targets = Tensor::empty({size.batch, size.context}, DType::i32);
  Rng rng(1, kFirstDraw);
  std::vector<double> times;
  for (int round = 0; round < 200; ++round) {
    const double begin = app::now();
    data.sample_batch(rng, tokens, targets);
    times.push_back(app::now() - begin);
  }
  std::sort(times.begin(), times.end());
  const double median = times[times.size() / 2];
  std::printf("%-44s median %8.1f us, 99 %% below %8.1f us, %7.1f million tokens a second\n", name.c_str(),
              1e6 * median, 1e6 * times[times.size() * 99 / 100], 1e-6 * static_cast<double>(tokens.numel()) / median);
}

void time_both(const std::string& name, TokenData data, Size size) {
  time_batches(name, data, size);
  data.set_sampling(Sampling::shuffle);
  time_batches(name + ", shuffled", data, size);
}

void time_shipped(Size size) {
  const std::string text = "data/tinyshakespeare.txt";
  time_both("characters of a mapped file", open_data_set({.sources = {text}}, tokenizer_type("char"), Identify::yes),
            size);
  time_both("ids in memory", open_data_set({.sources = {text}, .document_token = "\n"}, tokenizer_type("char")), size);
  std::string own = (std::filesystem::temp_directory_path() / "mixgrad_bench_loader_XXXXXX").string();
  if (::mkdtemp(own.data()) == nullptr) raise<IoError>(own, ": making a folder of that name failed");
  const std::filesystem::path folder = std::filesystem::path(own) / "data";
  prepare_data({.spec = {.sources = {text}}, .out = folder, .shard_tokens = 100'000});
  time_both("prepared shards", open_data_set({.sources = {folder.string()}}, tokenizer_type("char")), size);
  std::filesystem::remove_all(own);
}

void run(Size size, const std::vector<std::string>& sources) {
  std::printf("batches of %lld sequences of %lld tokens\n", static_cast<long long>(size.batch),
              static_cast<long long>(size.context));
  if (sources.empty()) time_shipped(size);
  for (const std::string& source : sources) {
    time_both(source, open_data_set({.sources = {source}}, tokenizer_type("char"), Identify::yes), size);
  }
  for (const char* task :
       {"mqar(pairs=64,vocab=8192,length=256)", "induction(vocab=16,length=256)", "copy(count=128,vocab=32)",
        "selective_copy(count=16,vocab=16,length=256)", "hashhop(hops=4,chains=6,letters=4)", "parity(length=256)"}) {
    const TaskBatches batches(parse_task(task));
    time_batches(task, batches, {size.batch, batches.task().length()});
  }
}

}  // namespace
}  // namespace mixgrad

int main(int count, char** arguments) {
  mixgrad::Size size;
  if (count > 1) {
    const auto batch = mixgrad::parse_integer(arguments[1]);
    const auto context = count > 2 ? mixgrad::parse_integer(arguments[2]) : std::nullopt;
    if (!batch || !context || *batch < 1 || *context < 1) {
      std::fputs("bench_loader: BATCH and CONTEXT must be two positive integers, before files or folders\n", stderr);
      return 2;
    }
    size = {*batch, *context};
  }
  mixgrad::run(size, {arguments + std::min(count, 3), arguments + count});
}
