#include "apps/run/prompt.h"

#include <cerrno>
#include <cstdio>
#include <system_error>

#include "core/error.h"
#include "core/text/byte_order_mark.h"
#include "core/text/suggest.h"
#include "nn/files/file.h"

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

std::vector<std::int32_t> default_start(const Tokenizer& tokenizer) { return {tokenizer.id_of("\n").value_or(0)}; }

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

void PromptOptions::declare(OptionSet& options) {
  options.add("prompt", text,
              "Text to continue; without it a line end, or the first token of a vocabulary that has none",
              {.not_empty = true});
  options.add("prompt-file", file, "File with the text to continue; - for stdin",
              {.value = "FILE",
               .not_empty = true,
               .useless = useless_when([this] { return !text.empty(); }, "--prompt gives the text")});
  options.add_flag("escapes", escapes, "\\n, \\t, \\\\ and \\xNN in the text to continue stand for these bytes",
                   {.useless = useless_when([this] { return text.empty() && file.empty(); },
                                            "it needs a text by --prompt or --prompt-file")});
}

std::vector<std::int32_t> PromptOptions::tokens(const Tokenizer& tokenizer) const {
  if (text.empty() && file.empty()) return default_start(tokenizer);
  const std::string what = text.empty() ? "--prompt-file" : "--prompt";
  std::string typed = text.empty() ? read_typed_file(file, what) : text;
  if (escapes) typed = without_escapes(typed, what);
  if (typed.empty()) raise<ValueError>(what, " ", file, ": at least one character is required; the file is empty");
  return encode_typed(tokenizer, typed, what);
}

}  // namespace mixgrad::app
