#include "apps/generation/prompt.h"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <system_error>
#include <utility>

#include "core/error.h"
#include "core/text/byte_order_mark.h"
#include "core/text/suggest.h"
#include "nn/files/file.h"
#include "nn/files/strict_json.h"

namespace mixgrad::app {
namespace {

constexpr std::size_t kMostBytes = std::size_t{1} << 30U;

std::string read_stdin(const std::string& what) {
  std::string text;
  char chunk[65536];
  for (std::size_t got = 0; (got = std::fread(chunk, 1, sizeof chunk, stdin)) > 0;) {
    text.append(chunk, got);
    if (text.size() > kMostBytes) raise<IoError>(what, ": stdin must have at most 1 GiB; it has more; give a file");
  }
  if (std::ferror(stdin) != 0) {
    raise<IoError>(what, ": stdin must be readable; ", std::generic_category().message(errno),
                   "; redirect a text to it or give a file");
  }
  return text;
}

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  const char lower = static_cast<char>(c | 0x20);
  return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

}  // namespace

Prompt default_prompt(const Tokenizer& tokenizer) {
  const SpecialTokens special = tokenizer.special_tokens();
  const std::optional<std::int32_t> start = special.start ? special.start : special.end;
  if (start) return {"", {*start}, 1};
  const std::vector<std::int32_t> tokens{tokenizer.id_of("\n").value_or(0)};
  return {tokenizer.decode(tokens), tokens};
}

std::vector<std::int32_t> encode_typed(const Tokenizer& tokenizer, std::string_view text, const std::string& what) {
  try {
    return tokenizer.encode(text, what);
  } catch (const FormatError& error) {
    raise<ValueError>(error.what());
  }
}

std::string without_escapes(std::string_view text, const std::string& what) {
  std::string result;
  for (std::size_t at = 0; at < text.size(); ++at) {
    if (text[at] != '\\') {
      result += text[at];
      continue;
    }
    const char next = at + 1 < text.size() ? text[at + 1] : '\0';
    const int high = next == 'x' && at + 3 < text.size() ? hex_digit(text[at + 2]) : -1;
    const int low = high >= 0 ? hex_digit(text[at + 3]) : -1;
    if (next == 'n' || next == 't' || next == '\\') {
      result += next == 'n' ? '\n' : next == 't' ? '\t' : '\\';
      at += 1;
    } else if (low >= 0) {
      result += static_cast<char>(high * 16 + low);
      at += 3;
    } else {
      raise<ValueError>(what, ": with --escapes a backslash must begin \\n, \\t, \\\\ or \\xNN; got ",
                        quote(text.substr(at, 4)), " at byte ", at, "; write \\\\ for a backslash");
    }
  }
  return result;
}

std::string read_typed_file(const std::string& path, const std::string& what) {
  if (path != "-") return read_text(path, kMostBytes, Pipes::wait);
  std::string text = read_stdin(what);
  text.erase(0, text.size() - without_byte_order_mark(text).size());
  return text;
}

void PromptOptions::declare(OptionSet& options, const std::function<std::string()>& useless,
                            const std::function<bool()>& also_escaped) {
  const auto reason = [useless] { return useless ? useless() : std::string(); };
  options.add_list("prompt", texts,
                   "Text to continue, - for stdin; several times for several; without it the tokenizer's start token, "
                   "else a line end, else the first token",
                   {.not_empty = true, .useless = reason});
  options.add_list("prompt-file", files,
                   "File with the text to continue, - for stdin; several times for several, or JSON lines (.jsonl), "
                   "each a text or an object with the text \"prompt\"",
                   {.value = "FILE", .not_empty = true, .useless = [this, reason] {
                      return texts.empty() ? reason() : std::string("--prompt gives the text");
                    }});
  options.add_flag(
      "escapes", escapes, "\\n, \\t, \\\\ and \\xNN in the text to continue stand for these bytes",
      {.useless = useless_when(
           [this, also_escaped] { return texts.empty() && files.empty() && !(also_escaped && also_escaped()); },
           "it needs a text by --prompt or --prompt-file")});
  options.add_flag("start-token", start_token, "Put the tokenizer's start token before each text to continue",
                   {.useless = useless_when([this] { return texts.empty() && files.empty(); },
                                            "it needs a text by --prompt or --prompt-file")});
}

namespace {

// The prompts of a file of JSON lines.
std::vector<std::string> json_prompts(const std::string& file, const std::string& content) {
  std::vector<std::string> found;
  std::int64_t number = 0;
  for (std::size_t at = 0; at < content.size();) {
    const std::size_t end = std::min(content.find('\n', at), content.size());
    const std::string line = content.substr(at, end - at);
    at = end + 1;
    ++number;
    if (line.find_first_not_of(" \t\r") == std::string::npos) continue;
    const std::string place = file + " line " + std::to_string(number);
    nlohmann::json value = parse_strict_json(line, place);
    if (value.is_object() && value.contains("prompt")) value = value["prompt"];
    if (!value.is_string()) {
      raise<FormatError>(place, ": a text is required, or an object with the text \"prompt\"; got ", quote(line),
                         "; correct it");
    }
    found.push_back(value.get<std::string>());
  }
  if (found.empty()) raise<FormatError>(file, ": at least one prompt is required; the file has none; add a line");
  return found;
}

}  // namespace

std::vector<std::string> json_line_prompts(const std::string& file) {
  return json_prompts(file, read_typed_file(file, file));
}

std::vector<Prompt> PromptOptions::prompts(const Tokenizer& tokenizer) const {
  if (texts.empty() && files.empty()) return {default_prompt(tokenizer)};
  const std::optional<std::int32_t> start = tokenizer.special_tokens().start;
  if (start_token && !start) {
    raise<ValueError>("--start-token needs a tokenizer that has a start token; that of the checkpoint has none; ",
                      "leave it out");
  }
  const std::string what = texts.empty() ? "--prompt-file" : "--prompt";
  std::vector<Prompt> all;
  const auto add = [&](const std::string& typed, const std::string& file) {
    const std::string text = unescaped(typed, what);
    if (text.empty()) raise<ValueError>(what, file, ": at least one character is required; the text is empty");
    all.push_back({text, encode_typed(tokenizer, text, what)});
    if (all.back().tokens.empty()) raise<ValueError>(what, file, ": at least one token is required; the text has none");
    if (start_token) {
      all.back().tokens.insert(all.back().tokens.begin(), *start);
      all.back().hidden = 1;
    }
  };
  for (const auto& [option, list] : {std::pair{"--prompt", &texts}, std::pair{"--prompt-file", &files}}) {
    if (std::count(list->begin(), list->end(), "-") <= 1) continue;
    raise<ValueError>(option, ": - must be given once; stdin can be read only once; leave one out");
  }
  for (const std::string& text : texts) {
    if (text == "-") {
      add(read_typed_file(text, what), " -");
    } else {
      add(text, "");
    }
  }
  for (const std::string& file : files) {
    const std::string content = read_typed_file(file, what);
    if (!file.ends_with(".jsonl")) {
      add(content, " " + file);
    } else {
      for (const std::string& text : json_prompts(file, content)) add(text, " " + file);
    }
  }
  return all;
}

}  // namespace mixgrad::app
