// What a terminal is shown: whether there is one, how wide it is, and text that cannot harm it.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace mixgrad::app {

// Whether lines can be rewritten in place there: it is a terminal, and TERM is not "dumb".
bool rewrites_lines(int descriptor);

// The columns of the terminal as it is now; 80 where it does not say.
std::size_t terminal_columns(int descriptor);

// The text with everything but printable characters, line feeds and tabs as \xNN, one for each byte.
std::string printable(std::string_view text);

// How many columns a terminal takes for it: two for a wide letter, none for a mark that combines with the one before.
// The widths are those of the C library (wcwidth in its locale C.UTF-8, with the Unicode version of the system).
std::size_t display_width(std::string_view text);

// The text and as many spaces as bring it to `columns`.
std::string padded(std::string text, std::size_t columns);

}  // namespace mixgrad::app
