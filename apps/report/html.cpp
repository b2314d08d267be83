#include "apps/report/html.h"

#include "core/text/utf8.h"

namespace mixgrad::app {

std::string html_text(std::string_view text) {
  constexpr std::string_view kReplacement = "\xef\xbf\xbd";
  std::string out;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t begin = at;
    const std::int32_t code = next_code_point(text, at);
    if (code < 0) {
      out += kReplacement;
      if (at == begin) ++at;
      continue;
    }
    switch (code) {
      case '&': out += "&amp;"; break;
      case '<': out += "&lt;"; break;
      case '>': out += "&gt;"; break;
      case '"': out += "&quot;"; break;
      case '\'': out += "&#39;"; break;
      default:
        if (code < 32 && code != '\n' && code != '\t') {
          out += kReplacement;
        } else {
          out += text.substr(begin, at - begin);
        }
    }
  }
  return out;
}

std::string json_in_script(std::string json) {
  std::string out;
  for (const char c : json) out += c == '<' ? std::string("\\u003c") : std::string(1, c);
  return out;
}

}  // namespace mixgrad::app
