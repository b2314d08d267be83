// The names of an enumeration's values, as config.json and the command line write them.
//   template <> const std::vector<std::string>& enum_names<Colour>();     one definition, in a .cpp file
//   to_string(Colour::red), find_enum<Colour>("red"), parse_enum<Colour>(text, "--colour")
#pragma once

#include <algorithm>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/error.h"
#include "core/text/suggest.h"

namespace mixgrad {

// In the order of the values, which count from 0.
template <class E>
const std::vector<std::string>& enum_names();

template <class E>
const std::string& to_string(E value) {
  return enum_names<E>().at(static_cast<std::size_t>(value));
}

template <class E>
std::optional<E> find_enum(std::string_view name) {
  const auto& names = enum_names<E>();
  const auto found = std::find(names.begin(), names.end(), name);
  if (found == names.end()) return std::nullopt;
  return static_cast<E>(found - names.begin());
}

// ValueError "WHAT must be one of a, b, c; got "x"; did you mean ...?".
template <class E>
E parse_enum(std::string_view name, std::string_view what) {
  const std::optional<E> found = find_enum<E>(name);
  if (!found) {
    raise<ValueError>(what, " must be one of ", join(enum_names<E>()), "; got ", quote(name), "; ",
                      did_you_mean(name, enum_names<E>()), "choose one of them");
  }
  return *found;
}

}  // namespace mixgrad
