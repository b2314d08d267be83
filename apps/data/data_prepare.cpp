#include "apps/data/data_prepare.h"

#include <unistd.h>

#include <cmath>
#include <cstdio>

#include "apps/data/standard_input_data.h"
#include "apps/options/tokenizer_option.h"
#include "apps/output/clock.h"
#include "apps/output/table.h"
#include "apps/output/terminal.h"
#include "core/error.h"
#include "core/text/bytes.h"
#include "nn/data/preparation/prepare.h"
#include "nn/files/strict_json.h"
#include "nn/tokenizers/tokenizer_files.h"

namespace mixgrad::app {
namespace {

// One line that is rewritten on a terminal, and elsewhere a line every few seconds.
class PrepareLine {
 public:
  PrepareLine() : terminal_(rewrites_lines(STDERR_FILENO)), start_(now()), shown_(start_) {}
  ~PrepareLine() { clear(); }
  PrepareLine(const PrepareLine&) = delete;
  PrepareLine& operator=(const PrepareLine&) = delete;

  void show(const PrepareProgress& progress) {
    const double time = now();
    if (progress.pass != pass_) {
      pass_ = progress.pass;
      start_ = time;
    }
    if (time - shown_ < (terminal_ ? 0.2 : 5.0) || progress.bytes == 0) return;
    shown_ = time;
    const double done = static_cast<double>(progress.bytes) / static_cast<double>(progress.all_bytes);
    const double left = (time - start_) * (1 - done) / done;
    const auto seconds = static_cast<long long>(std::ceil(left));
    char line[160];
    std::snprintf(line, sizeof line, "%s %s of %s (%.0f %%), left %lld:%02lld",
                  pass_ == PrepareProgress::Pass::counting ? "counting" : "encoding",
                  bytes_text(progress.bytes).c_str(), bytes_text(progress.all_bytes).c_str(), 100 * done, seconds / 60,
                  seconds % 60);
    std::fprintf(stderr, terminal_ ? "\r\033[K%.*s" : "%.*s\n", static_cast<int>(terminal_columns(STDERR_FILENO)) - 1,
                 line);
    std::fflush(stderr);
    open_ = terminal_;
  }

 private:
  void clear() {
    if (open_) std::fputs("\r\033[K", stderr);
    open_ = false;
  }

  bool terminal_, open_ = false;
  double start_, shown_;
  PrepareProgress::Pass pass_ = PrepareProgress::Pass::counting;
};

}  // namespace

void prepare_verb(const DataPrepareOptions& given) {
  DataPrepareOptions options = given;
  const TemporaryInput input(options.sources, options.source_options);
  PrepareOptions what{.spec = {.sources = options.sources,
                               .reading = options.source_options.reader_options(),
                               .valid = options.source_options.valid_choice(),
                               .document_token = options.source_options.document_token},
                      .tokenizer = options.tokenizer.empty() ? "char" : options.tokenizer,
                      .out = options.out,
                      .shard_tokens = options.shard_tokens};
  SourceList list = find_sources(options.sources);
  if (!options.tokenizer.empty() && list.files[0].reader->yields == Reader::Yields::ids) {
    raise<ValueError>("--tokenizer cannot be given here: ", options.sources[0], " holds token ids; leave it out");
  }
  if (what.spec.valid.kind == ValidChoice::Kind::sources) {
    list.count_left_out_of(find_sources(options.source_options.valid));
  }
  if (!tokenizer_is_made(what.tokenizer)) what.known = open_tokenizer(what.tokenizer);
  PreparedManifest manifest;
  const double start = now();
  {
    PrepareLine line;
    what.progress = [&](const PrepareProgress& progress) { line.show(progress); };
    manifest = prepare_data(what);
  }
  const auto figure = [](const char* key, std::int64_t value, const char* remark = "") {
    return Figure{.key = key, .value = value, .label = key, .text = std::to_string(value), .remark = remark};
  };
  char seconds[32];
  std::snprintf(seconds, sizeof seconds, "%.1f", now() - start);
  print_figures(format_of(options.json),
                {{.key = "out", .value = json_text(options.out), .label = "", .text = "", .shown = ShownIn::json},
                 figure("documents", manifest.documents),
                 figure("tokens", manifest.tokens),
                 figure("train_tokens", manifest.train_tokens),
                 figure("vocab_size", manifest.vocab_size),
                 figure("left_out", list.left_out(), "hidden, unknown binary and special files, links to folders"),
                 figure("shards", static_cast<std::int64_t>(manifest.shards.size()), "files of tokens"),
                 {.key = "seconds", .value = now() - start, .label = "seconds", .text = seconds}});
}

}  // namespace mixgrad::app
