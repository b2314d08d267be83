// mixgrad detokenize: the bytes of token ids, what tokenize was given.
#include <charconv>
#include <cstdio>

#include "apps/data/input_bytes.h"
#include "apps/options/tokenizer_option.h"
#include "apps/output/standard_output.h"
#include "apps/verbs/verbs.h"
#include "core/error.h"
#include "core/text/suggest.h"
#include "nn/tokenizers/tokenizer_files.h"
#include "nn/tokenizers/tokenizer_types.h"

namespace mixgrad::app {
namespace {

class Detokenize : public Verb {
 public:
  std::string summary() const override { return "The bytes that token ids stand for"; }
  std::string example() const override { return "mixgrad detokenize --tokenizer runs/char ids.txt"; }

  void declare(OptionSet& options) override {
    options.add("tokenizer", tokenizer_, "byte, or a file or folder that holds a tokenizer",
                {.group = OptionGroup::data, .value = "TOKENIZER", .not_empty = true});
    options.add_files("FILE", files_, "Ids separated by spaces or line ends; - or none for stdin",
                      OptionSet::ArgumentUse::optional);
  }

  int run() override {
    if (tokenizer_.empty())
      raise<ValueError>("detokenize: --tokenizer TOKENIZER is required: byte, a file or a folder");
    if (files_.size() > 1) raise<ValueError>("detokenize: one FILE can be given; got ", files_.size());
    const TokenizerPtr tokenizer = open();
    const InputBytes input(files_.empty() ? "-" : files_[0], "detokenize");
    const std::string text = decode(*tokenizer, input);
    input.require_whole();
    std::fwrite(text.data(), 1, text.size(), stdout);
    flush_stdout();
    return kOk;
  }

 private:
  TokenizerPtr open() const {
    if (!tokenizer_is_made(tokenizer_)) return open_tokenizer(tokenizer_);
    if (tokenizer_ == "byte") return make_tokenizer(tokenizer_, {});
    raise<ValueError>("detokenize: --tokenizer must be one that exists; got ", quote(tokenizer_),
                      ", which is made from a text; give the tokenizer.json or the checkpoint that holds it");
  }

  static std::string decode(const Tokenizer& tokenizer, const InputBytes& input) {
    const std::unique_ptr<TokenDecoder> decoder = tokenizer.new_decoder();
    const std::string_view given = input.text();
    constexpr std::string_view kBlanks = " \t\r\n";
    std::string text;
    for (std::size_t at = 0; (at = given.find_first_not_of(kBlanks, at)) != std::string_view::npos;) {
      const std::string_view word = given.substr(at, given.find_first_of(kBlanks, at) - at);
      std::int32_t id = -1;
      const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), id);
      if (error != std::errc() || end != word.data() + word.size() || id < 0 || id >= tokenizer.vocab_size()) {
        raise<FormatError>(input.name(), ": every word must be a token id from 0 to ", tokenizer.vocab_size() - 1,
                           "; found ", quote(word), " at byte ", at, "; check that text and tokenizer belong together");
      }
      text += decoder->next(id);
      at += word.size();
    }
    return text + decoder->finish();
  }

  std::string tokenizer_;
  std::vector<std::string> files_;
};

}  // namespace

std::unique_ptr<Verb> verbs::detokenize() { return std::make_unique<Detokenize>(); }

}  // namespace mixgrad::app
