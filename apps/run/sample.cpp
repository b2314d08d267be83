#include "apps/run/sample.h"

#include <unistd.h>

#include <cstdio>

#include "apps/output/standard_output.h"
#include "core/system/interrupt.h"

namespace mixgrad::app {
namespace {

void put(const std::string& text) {
  std::fwrite(text.data(), 1, text.size(), stdout);
  flush_stdout();
}

}  // namespace

void stream_sample(const Decoder& model, const Tokenizer& tokenizer, const std::string& prompt, std::int64_t tokens,
                   const SamplingOptions& options, std::uint64_t seed) {
  const std::vector<std::int32_t> ids = tokenizer.encode(prompt, "--prompt");
  Generator generator(model, tokenizer.vocab_size(), options, seed);
  generator.prompt(ids);
  put(prompt);
  const std::unique_ptr<TokenDecoder> decoder = tokenizer.new_decoder();
  bool told = false;
  for (std::int64_t i = 0; i < tokens; ++i) {
    check_interrupt();
    put(decoder->next(generator.next()));
    if (generator.restarted() && !told) {
      if (isatty(STDERR_FILENO) == 1) std::fputs("\n", stderr);  // the text so far ends within a line
      std::fprintf(stderr,
                   "mixgrad: beyond the %lld tokens that this model's learned positions cover, it goes on from the "
                   "last %lld\n",
                   static_cast<long long>(model.config().context), static_cast<long long>(model.config().context / 2));
      told = true;
    }
  }
  put(decoder->finish() + "\n");
}

}  // namespace mixgrad::app
