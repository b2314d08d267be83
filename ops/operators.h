// All operators that this program knows: the built-in ones, which stand in ops/op_list.def, and those that a program
// has registered.
#pragma once

#include <span>
#include <string_view>

#include "autograd/op_spec.h"

namespace mixgrad {

// The specs of the built-in operators. A name in the list without a definition is a link error.
#define OP(name, folder) extern const OpSpec name##_spec;
#include "ops/op_list.def"
#undef OP

// The built-in operators in the order of the list, then the registered ones in the order of their registration. Valid
// until the next registration.
std::span<const OpSpec* const> operators();

// Null when no operator has this name.
const OpSpec* find_operator(std::string_view name);

// Adds an operator, so that it can be listed and looked up by its name; recording it on a tape needs no registration.
// The spec must live as long as the program. To be called while no other thread runs. ValueError when the spec lacks a
// part or its name is taken by another operator; registering the same spec again changes nothing.
void register_operator(const OpSpec& spec);

}  // namespace mixgrad
