// mixgrad data: what is in the sources of data, and what counting alone predicts of it.
#include <cstdio>

#include "apps/data/data_prepare.h"
#include "apps/data/data_report.h"
#include "apps/options/source_options.h"
#include "apps/options/tokenizer_option.h"
#include "apps/process/signals.h"
#include "apps/verbs/verbs.h"
#include "core/context.h"
#include "core/error.h"
#include "core/system/interrupt.h"
#include "core/text/parse_number.h"
#include "core/text/suggest.h"

namespace mixgrad::app {
namespace {

class Data : public Verb {
 public:
  std::string summary() const override {
    return "Look at data: documents, symbols, what n-grams predict (data show); encode it once (data prepare)";
  }
  std::string example() const override { return "mixgrad data show my.txt --json"; }

  void declare(OptionSet& options) override {
    options.add_choice(what_, {{"show", "samples, lengths, symbol statistics, and n-gram baselines"},
                               {"prepare", "token ids in a folder, for train --data, from sources of any size"}});
    options.add_files("SOURCE", sources_, "Files, folders and globs of data, or - (stdin)");
    const OptionTraits traits{.group = OptionGroup::data, .on_resume = OnResume::not_stored};
    source_.declare_valid(options, traits);
    OptionTraits of_tokenizer = traits;
    of_tokenizer.value = "TOKENIZER";
    of_tokenizer.not_empty = true;
    options.add("tokenizer", tokenizer_,
                "Of text: what becomes a symbol; char when none is given, else " + tokenizer_help(), of_tokenizer);
    OptionTraits of_first = traits;
    of_first.value = "N[,M]";
    of_first.only_for = {"show"};
    options.add("first", first_,
                "Only the first N symbols of the training part, and the first M of the validation part", of_first);
    source_.declare_readers(options, traits);
    declare_prepare(options, traits);
    options.add_flag("json", json_, "One JSON object on stdout");
  }

  void declare_prepare(OptionSet& options, OptionTraits traits) {
    traits.only_for = {"prepare"};
    OptionTraits of_out = traits;
    of_out.value = "DIR";
    options.add("out", out_, "The folder to make; it must not exist", of_out);
    options.add("shard-tokens", shard_tokens_, {1, INT64_C(1) << 28U}, "Tokens of one file in it", traits);
    OptionTraits of_threads = traits;
    of_threads.group = OptionGroup::device;
    options.add("threads", threads_, kThreads, "Threads of the CPU; 0 = all cores. The result does not depend on it",
                of_threads);
    OptionTraits of_token = traits;
    of_token.value = "TOKEN";
    options.add("document-token", source_.document_token,
                "Put behind each document: the text of a token, or of data of ids an id; without it nothing", of_token);
  }

  int run() override {
    if (what_ == "prepare") return prepare();
    const auto [train, valid] = parse_first();
    show_data({.sources = sources_,
               .source_options = source_,
               .tokenizer = tokenizer_,
               .first_train = train,
               .first_valid = valid,
               .json = json_});
    return kOk;
  }

 private:
  int prepare() {
    if (out_.empty()) raise<ValueError>("data prepare: --out DIR is required: the folder to make");
    const SignalScope signals;
    try {
      const ContextScope scope(Context{.threads = static_cast<int>(threads_)});
      prepare_verb({.sources = sources_,
                    .source_options = source_,
                    .tokenizer = tokenizer_,
                    .out = out_,
                    .shard_tokens = shard_tokens_,
                    .json = json_});
      return kOk;
    } catch (const Interrupted& cut) {
      std::fprintf(stderr, "mixgrad: stopped by %s; nothing was written\n", signal_name(cut.signal));
      return 128 + cut.signal;
    }
  }

  // N and M of --first; 0 = all.
  std::pair<std::int64_t, std::int64_t> parse_first() const {
    if (first_.empty()) return {0, 0};
    const std::size_t comma = first_.find(',');
    const auto train = mixgrad::parse_integer(std::string_view(first_).substr(0, comma));
    const auto valid = comma == std::string::npos
                           ? 0
                           : mixgrad::parse_integer(std::string_view(first_).substr(comma + 1)).value_or(-1);
    if (!train || *train < 1 || (comma != std::string::npos && valid < 1)) {
      raise<ValueError>("--first must be N or N,M, numbers of symbols from 1 on; got ", quote(first_), "; correct it");
    }
    return {*train, valid};
  }

  std::string what_, tokenizer_, first_, out_;
  std::int64_t shard_tokens_ = INT64_C(1) << 24U, threads_ = 0;
  std::vector<std::string> sources_;
  SourceOptions source_;
  bool json_ = false;
};

}  // namespace

std::unique_ptr<Verb> verbs::data() { return std::make_unique<Data>(); }

}  // namespace mixgrad::app
