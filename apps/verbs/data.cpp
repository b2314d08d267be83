// mixgrad data: what is in the sources of data, and what counting alone predicts of it.
#include "apps/options/source_options.h"
#include "apps/options/tokenizer_option.h"
#include "apps/run/data_report.h"
#include "apps/verbs/verbs.h"
#include "core/error.h"
#include "core/text/parse_number.h"
#include "core/text/suggest.h"

namespace mixgrad::app {
namespace {

class Data : public Verb {
 public:
  std::string summary() const override {
    return "Look at data: documents, lengths, symbols, and what n-grams predict (data show)";
  }
  std::string example() const override { return "mixgrad data show my.txt --json"; }

  void declare(OptionSet& options) override {
    options.add_choice(what_, {{"show", "samples, lengths, symbol statistics, and n-gram baselines"}});
    options.add_files("SOURCE", sources_, "Files, folders and globs of data");
    const OptionTraits traits{.group = OptionGroup::data, .on_resume = OnResume::not_stored};
    source_.declare_valid(options, traits);
    OptionTraits of_tokenizer = traits;
    of_tokenizer.value = "TOKENIZER";
    of_tokenizer.not_empty = true;
    options.add("tokenizer", tokenizer_,
                "Of text: what becomes a symbol; char when none is given, else " + tokenizer_help(), of_tokenizer);
    OptionTraits of_first = traits;
    of_first.value = "N[,M]";
    options.add("first", first_,
                "Only the first N symbols of the training part, and the first M of the validation part", of_first);
    source_.declare(options, traits);
    options.add_flag("json", json_, "One JSON object on stdout");
  }

  int run() override {
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
  // N and M of --first; 0 = all.
  std::pair<std::int64_t, std::int64_t> parse_first() const {
    if (first_.empty()) return {0, 0};
    const std::size_t comma = first_.find(',');
    const auto train = parse_integer(std::string_view(first_).substr(0, comma));
    const auto valid =
        comma == std::string::npos ? 0 : parse_integer(std::string_view(first_).substr(comma + 1)).value_or(-1);
    if (!train || *train < 1 || (comma != std::string::npos && valid < 1)) {
      raise<ValueError>("--first must be N or N,M, numbers of symbols from 1 on; got ", quote(first_), "; correct it");
    }
    return {*train, valid};
  }

  std::string what_, tokenizer_, first_;
  std::vector<std::string> sources_;
  SourceOptions source_;
  bool json_ = false;
};

}  // namespace

std::unique_ptr<Verb> verbs::data() { return std::make_unique<Data>(); }

}  // namespace mixgrad::app
