// Text in HTML and SVG.
#pragma once

#include <string>
#include <string_view>

namespace mixgrad::app {

// & < > " ' as entities; bytes that are not UTF-8, and control characters, as U+FFFD.
std::string html_text(std::string_view text);

// JSON that may stand in a <script> element: < as \u003c.
std::string json_in_script(std::string json);

}  // namespace mixgrad::app
