// A mixer is compared with softmax attention in one of three ways: with an MLP of the same width, or with the same
// number of parameters or of operations, where the MLP is given what the mixer saves.
//   equal-parameter width = d_ff + sum_l (P_attention - P_mixer,l) / (L times MLP parameters per hidden unit),
//                           rounded down to a multiple of 8
//   P_mixer,l: parameters under layers.l.mixer; those of a shortcut count as a mixer's too
#pragma once

#include <cstdint>

#include "nn/config/kinds/attention.h"

namespace mixgrad {

// `attention` is the form of the layers compared with. ValueError when no 8 hidden units are left, or when the model
// with softmax layers would not be a valid one.
std::int64_t equal_parameter_width(const ModelConfig& config, const AttentionConfig& attention);

// The same with operations of a token at full context in place of parameters (Decoder::report).
std::int64_t equal_operation_width(const ModelConfig& config, const AttentionConfig& attention);

}  // namespace mixgrad
