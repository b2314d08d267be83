// Words for errors: the nearest right word to a misspelt one, and quoting of what came from outside.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace mixgrad {

// The candidate that `word` can have been meant as: the nearest by edit distance (insert, delete, replace, swap of
// neighbours; letter case is free; '-' equals '_') within one edit for every four letters (at least one edit; of words
// below four letters only a swap) that keeps every digit; else the only one that begins with `word`, of three letters
// or more. Empty when there is none, or when several are equally near: a wrong suggestion is worse than none.
std::string nearest(std::string_view word, const std::vector<std::string>& candidates);

// "did you mean "heads"? " or nothing: to stand before a list of what is allowed.
std::string did_you_mean(std::string_view word, const std::vector<std::string>& candidates);

// "a, b, c"
std::string join(const std::vector<std::string>& words);

// The word in double quotes, control characters escaped, cut after `max_bytes` (at a character's boundary) with "...".
std::string quote(std::string_view word, std::size_t max_bytes = 60);

}  // namespace mixgrad
