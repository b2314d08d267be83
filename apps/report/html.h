// Text in HTML and SVG.
#pragma once

#include <map>
#include <string>
#include <string_view>

namespace mixgrad::app {

// & < > " ' as entities; bytes that are not UTF-8, and control characters, as U+FFFD.
std::string html_text(std::string_view text);

// JSON that may stand in a <script> element: < as \u003c.
std::string json_in_script(std::string_view json);

// A page with @NAMES@ replaced by their values, in one pass: what is put in is not searched. Every name has a value.
std::string filled_page(std::string_view page, const std::map<std::string, std::string>& values);

// Bytes in base64 (RFC 4648, with padding).
std::string base64(std::string_view bytes);

}  // namespace mixgrad::app
