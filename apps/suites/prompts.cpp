// Prompts that the model continues, such as those of TinyStories (Eldan and Li, 2023), for a person to read. A file in
// YAML (a list of texts; with libyaml, docs/building.md), or JSON lines, as --prompt-file of generate takes them.
#include <memory>

#include "apps/generation/batch.h"
#include "apps/suites/built_in_suites.h"
#include "core/error.h"
#include "nn/files/file.h"

#if MIXGRAD_LIBYAML
#include <yaml.h>
#endif

namespace mixgrad::app {
namespace {

#if MIXGRAD_LIBYAML

constexpr std::size_t kMostPromptBytes = std::size_t{64} << 20U;

// The texts of a YAML list of texts, by the events of libyaml's parser.
std::vector<std::string> yaml_texts(const std::string& file) {
  const std::string content = read_text(file, kMostPromptBytes, Pipes::wait);
  yaml_parser_t parser;
  if (::yaml_parser_initialize(&parser) == 0) throw std::bad_alloc();
  const std::unique_ptr<yaml_parser_t, void (*)(yaml_parser_t*)> owner(&parser, ::yaml_parser_delete);
  ::yaml_parser_set_input_string(&parser, reinterpret_cast<const unsigned char*>(content.data()), content.size());
  std::vector<std::string> texts;
  bool in_list = false;
  for (bool more = true; more;) {
    yaml_event_t event;
    if (::yaml_parser_parse(&parser, &event) == 0) {
      raise<FormatError>(file, " line ", parser.problem_mark.line + 1, ": a list of texts in YAML is required; ",
                         parser.problem == nullptr ? "it is none" : parser.problem, "; correct it");
    }
    const std::unique_ptr<yaml_event_t, void (*)(yaml_event_t*)> event_owner(&event, ::yaml_event_delete);
    const bool structure = event.type == YAML_STREAM_START_EVENT || event.type == YAML_DOCUMENT_START_EVENT ||
                           event.type == YAML_DOCUMENT_END_EVENT || event.type == YAML_STREAM_END_EVENT;
    more = event.type != YAML_STREAM_END_EVENT;
    if (structure) continue;
    if (event.type == YAML_SEQUENCE_START_EVENT && !in_list) {
      in_list = true;
    } else if (event.type == YAML_SEQUENCE_END_EVENT) {
      in_list = false;
    } else if (event.type == YAML_SCALAR_EVENT && in_list) {
      texts.emplace_back(reinterpret_cast<const char*>(event.data.scalar.value), event.data.scalar.length);
    } else {
      raise<FormatError>(file, " line ", event.start_mark.line + 1, ": a list of texts is required; this is ",
                         event.type == YAML_SCALAR_EVENT ? "a text outside a list" : "something else",
                         "; write each prompt as an item: - |-");
    }
  }
  return texts;
}

#else

std::vector<std::string> yaml_texts(const std::string& file) {
  raise<FormatError>(file, ": this program was built without libyaml and reads no YAML; give JSON lines (.jsonl)");
}

#endif

SuiteTable run_prompts(const SuiteInput& input) {
  const bool yaml = input.file.ends_with(".yaml") || input.file.ends_with(".yml");
  if (!yaml && !input.file.ends_with(".jsonl")) {
    raise<FormatError>(input.file, ": a file of prompts is YAML (.yaml) or JSON lines (.jsonl); rename it");
  }
  const std::vector<std::string> texts = yaml ? yaml_texts(input.file) : json_line_prompts(input.file);
  if (texts.empty()) raise<FormatError>(input.file, ": at least one prompt is required; the file has none");
  std::vector<Prompt> prompts;
  for (const std::string& text : texts) {
    const std::string place = input.file + " prompt " + std::to_string(prompts.size() + 1);
    prompts.push_back({text, suite_tokens(input, text, place)});
  }
  SuiteTable table{.columns = {{.key = "prompt"}, {.key = "text"}}, .rows = {}};
  const StopTexts none({}, input.tokenizer);
  const BatchOptions options{
      .tokens = input.tokens, .batch = input.batch, .seed = input.seed, .sampling = {.temperature = input.temperature}};
  Speed speed;
  continue_prompts(input.model, input.tokenizer, prompts, none, options, speed,
                   [&](std::size_t number, const Continuation& continuation) {
                     table.rows.push_back({prompts[number].text, continuation.text()});
                   });
  speed.say_it();
  return table;
}

}  // namespace

Suite built_in::prompts_suite() {
  return {.name = "prompts", .what = "continuations of prompts", .generates = true, .run = run_prompts};
}

}  // namespace mixgrad::app
