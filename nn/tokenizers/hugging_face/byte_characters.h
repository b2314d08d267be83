// The spelling of bytes in the vocabularies of byte-level tokenizers (GPT-2): each byte is a character that can be
// seen. The printable ones of Latin-1 are themselves, the others are U+0100 and on in their order: a space is Ġ.
#pragma once

#include <array>
#include <optional>
#include <string>
#include <string_view>

namespace mixgrad {

const std::array<std::string, 256>& byte_characters();  // UTF-8
// The bytes that a token spells; nothing when one of its characters spells none.
std::optional<std::string> bytes_of_characters(std::string_view token);

}  // namespace mixgrad
