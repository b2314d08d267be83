#include "apps/run/checkpoint_text.h"

#include "apps/output/error_line.h"
#include "apps/run/run_text.h"

namespace mixgrad::app {
namespace {

TokenData open_own_text(const std::string& verb, const std::string& checkpoint, const TokenizerPtr& tokenizer,
                        ModelOptions& text) {
  const RunText own = text_of_run(verb, checkpoint);
  if (!own.task.empty()) {
    raise<ValueError>(verb, ": --data FILE is required: ", checkpoint, " was trained on the task ", own.task,
                      ", which has no text");
  }
  own.apply(text);
  if (text.unknown.empty()) text.unknown = own.unknown;
  TokenData data = with_run_text(own, [&] { return text.open_data(tokenizer, Identify::yes); });
  require_run_text(own, data);
  say("the text is the one that " + own.run + " was trained on, " + data.source());
  return data;
}

}  // namespace

TokenData open_checkpoint_text(const std::string& verb, const std::string& checkpoint, const TokenizerPtr& tokenizer,
                               ModelOptions text) {
  TokenData data =
      text.data.empty() ? open_own_text(verb, checkpoint, tokenizer, text) : text.open_data(tokenizer, Identify::yes);
  if (const std::string note = unknown_note(data, parse_unknown(text.unknown)); !note.empty()) say(note);
  return data;
}

}  // namespace mixgrad::app
