#include "apps/generation/interactive.h"

#include "apps/generation/line_editor.h"
#include "apps/generation/prompt.h"
#include "apps/generation/sample.h"
#include "apps/generation/speed.h"
#include "apps/output/error_line.h"
#include "apps/process/interrupt_key.h"
#include "core/error.h"
#include "core/system/interrupt.h"

namespace mixgrad::app {
namespace {

// The answer to one line, or its beginning when Ctrl-C stops it.
void answer(const Interaction& with, const std::vector<std::int32_t>& prompt, std::uint64_t seed, Speed& speed) {
  Generator generator(with.model, with.tokenizer.vocab_size(), with.sampling, seed);
  Continuation continuation(with.tokenizer, prompt, with.stops, with.tokens, 0, Continuation::Keep::nothing);
  clear_interrupt();  // a Ctrl-C between two characters of the line has no answer to stop
  try {
    generator.prompt(prompt);
    speed.begin();
    bool told = false;
    while (!continuation.ended()) {
      check_interrupt();
      put_text(continuation.next({generator.next(), 0}));
      speed.count(1);
      if (generator.restarted() && !told) say_restarted(with.model);
      told = told || generator.restarted();
    }
  } catch (const Interrupted&) {  // the next line is read
  }
  put_text("\n");
}

}  // namespace

void converse(const Interaction& with) {
  const InterruptKeyScope scope(Waiting::continues);  // output that waits for a slow terminal is not lost
  LineEditor editor;
  std::uint64_t seed = with.seed;
  std::string line;
  for (LineEditor::Got got{}; (got = editor.read(line)) != LineEditor::Got::end;) {
    if (got == LineEditor::Got::interrupted || line.empty()) continue;
    std::vector<std::int32_t> prompt;
    try {
      prompt = encode_typed(with.tokenizer, with.unescaped(line), "the line");
    } catch (const ValueError& error) {
      say(error.what());
      continue;
    }
    if (prompt.empty()) continue;
    Speed speed;
    answer(with, prompt, seed++, speed);
    speed.say_it();
  }
}

}  // namespace mixgrad::app
