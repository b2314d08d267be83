#include "apps/generation/sample.h"

#include <unistd.h>

#include <cstdio>

#include "apps/output/standard_output.h"
#include "apps/output/terminal.h"
#include "core/system/interrupt.h"
#include "core/text/plural.h"

namespace mixgrad::app {

void put_text(const std::string& text) {
  const std::string shown = ::isatty(STDOUT_FILENO) == 1 ? printable(text) : text;
  std::fwrite(shown.data(), 1, shown.size(), stdout);
  flush_stdout();
}

void say_restarted(const Decoder& model) {
  const std::int64_t context = model.config().context;
  if (::isatty(STDERR_FILENO) == 1) std::fputs("\n", stderr);  // the text so far ends within a line
  std::fprintf(
      stderr,
      "mixgrad: beyond the %s that this model's learned positions cover, generation restarts from the last %s\n",
      count_text(context, "token").c_str(), std::to_string(Generator::kept_tokens(context)).c_str());
}

void stream_sample(const Decoder& model, const Tokenizer& tokenizer, Continuation& continuation,
                   const SamplingOptions& options, std::uint64_t seed) {
  Generator generator(model, tokenizer.vocab_size(), options, seed);
  generator.prompt(continuation.prompt());
  put_text(continuation.prompt_text());
  bool told = false;
  while (!continuation.ended()) {
    check_interrupt();
    put_text(continuation.next({generator.next(), 0}));
    if (generator.restarted() && !told) say_restarted(model);
    told = told || generator.restarted();
  }
  put_text("\n");
}

void stream_sample(const Decoder& model, const Tokenizer& tokenizer, const Prompt& prompt, std::int64_t tokens,
                   const SamplingOptions& options, std::uint64_t seed) {
  const StopTexts none({}, tokenizer);
  Continuation continuation(tokenizer, prompt.tokens, none, tokens, prompt.hidden, Continuation::Keep::nothing);
  stream_sample(model, tokenizer, continuation, options, seed);
}

}  // namespace mixgrad::app
