// mixgrad tokenize: a text as token ids.
#include <charconv>
#include <cstdio>

#include "apps/data/input_bytes.h"
#include "apps/options/placement_options.h"
#include "apps/options/tokenizer_option.h"
#include "apps/output/standard_output.h"
#include "apps/verbs/verbs.h"
#include "core/error.h"
#include "core/parallel.h"
#include "nn/tokenizers/tokenizer_files.h"
#include "nn/tokenizers/tokenizer_types.h"

namespace mixgrad::app {
namespace {

class Tokenize : public Verb {
 public:
  std::string summary() const override { return "Token ids of a text, on one line"; }
  std::string example() const override { return "mixgrad tokenize --tokenizer runs/char prompt.txt"; }

  void declare(OptionSet& options) override {
    options.add("tokenizer", tokenizer_, tokenizer_help(),
                {.group = OptionGroup::data, .value = "TOKENIZER", .not_empty = true});
    options.add_files("FILE", files_, "The text; - or none for stdin", OptionSet::ArgumentUse::optional);
    declare_threads(options, threads_);
    options.add_flag("json", json_, "One JSON object on stdout");
  }

  int run() override {
    if (tokenizer_.empty()) {
      raise<ValueError>("tokenize: --tokenizer TOKENIZER is required: a name such as bpe:4096, a file or a folder");
    }
    if (files_.size() > 1) raise<ValueError>("tokenize: one FILE can be given; got ", files_.size());
    const bool made = tokenizer_is_made(tokenizer_);  // refuses a wrong name before stdin is read
    const TokenizerPtr known = made ? nullptr : open_tokenizer(tokenizer_);
    const ContextScope scope(with_threads(static_cast<int>(threads_)));
    const InputBytes input(files_.empty() ? "-" : files_[0], "tokenize");
    std::vector<std::int32_t> ids;
    try {
      const TokenizerPtr tokenizer =
          made ? make_tokenizer(tokenizer_, {.text = input.text(), .source = input.name()}) : known;
      ids = tokenizer->encode(input.text(), input.name());
    } catch (const ValueError& error) {
      input.require_whole();
      if (made) throw;
      raise<FormatError>(error.what());  // it is the text that is wrong
    }
    input.require_whole();
    print(ids, input.text().size());
    return kOk;
  }

 private:
  void print(const std::vector<std::int32_t>& ids, std::size_t bytes) const {
    std::string line = json_ ? "{\"ids\":[" : "";
    const char separator = json_ ? ',' : ' ';
    for (std::size_t i = 0; i < ids.size(); ++i) {
      if (i > 0) line += separator;
      char digits[16];
      line.append(digits, std::to_chars(digits, digits + sizeof digits, ids[i]).ptr);
      if (line.size() > std::size_t{1} << 20U) put(line);
    }
    if (json_) {
      line += "],\"tokens\":" + std::to_string(ids.size()) + ",\"bytes\":" + std::to_string(bytes) + "}";
    }
    line += '\n';
    put(line);
    flush_stdout();
  }
  static void put(std::string& text) {
    std::fwrite(text.data(), 1, text.size(), stdout);
    text.clear();
  }

  std::string tokenizer_;
  std::vector<std::string> files_;
  std::int64_t threads_ = 0;
  bool json_ = false;
};

}  // namespace

std::unique_ptr<Verb> verbs::tokenize() { return std::make_unique<Tokenize>(); }

}  // namespace mixgrad::app
