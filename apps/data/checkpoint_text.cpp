#include "apps/data/checkpoint_text.h"

#include "apps/data/run_text.h"
#include "apps/output/error_line.h"
#include "nn/files/generations.h"
#include "nn/files/safetensors.h"

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

Checkpoint load_in_type(const std::string& checkpoint, const PlacementOptions& placement) {
  if (placement.precision != "stored") return load_checkpoint(checkpoint, placement.model_placement());
  const std::filesystem::path folder = find_generation(checkpoint);
  const SafetensorsFile file = SafetensorsFile::open(folder / "model.safetensors");
  const bool f64 = !file.names().empty() && file.entry(file.names().front()).dtype == DType::f64;
  return load_checkpoint(folder, {f64 ? DType::f64 : DType::f32, placement.where()});
}

}  // namespace mixgrad::app
