// The public header of the library: everything that a program needs to build, train, decode and store a model.
//
//   #include "mixgrad/mixgrad.h"
//   mixgrad::Tensor x = mixgrad::Tensor::full({2, 3}, mixgrad::DType::f32, 1.0);
//   mixgrad::Tensor y = mixgrad::gelu(x);
//
// An operator of your own needs two more: ops/support/dispatch.h (devices) and ops/support/check.h (the wording of
// errors); its tests need mixgrad::cases. examples/ shows each. A program links mixgrad::mixgrad (docs/library.md).
#pragma once

// Values: tensors, errors, random numbers, threads.
#include "core/build.h"
#include "core/error.h"
#include "core/matmul_precision.h"
#include "core/parallel.h"
#include "core/rng.h"
#include "core/tensor.h"

// Gradients and their check.
#include "autograd/gradcheck.h"
#include "autograd/tape.h"

// Operators: one header for each folder of ops/op_list.def.
#include "ops/attention/attention.h"
#include "ops/causal_conv/causal_conv.h"
#include "ops/distillation_loss/distillation_loss.h"
#include "ops/dropout/dropout.h"
#include "ops/elementwise/elementwise.h"
#include "ops/embedding/embedding.h"
#include "ops/gate_blend/gate_blend.h"
#include "ops/head_linear/head_linear.h"
#include "ops/heads/heads.h"
#include "ops/layer_norm/layer_norm.h"
#include "ops/linear/linear.h"
#include "ops/linear_cross_entropy/linear_cross_entropy.h"
#include "ops/operators.h"
#include "ops/rms_norm/rms_norm.h"
#include "ops/rope/rope.h"
#include "ops/selective_scan/selective_scan.h"
#include "ops/shift/shift.h"
#include "ops/shift_mix/shift_mix.h"
#include "ops/shortcut_attention/shortcut_attention.h"
#include "ops/squared_error/squared_error.h"

// Models: configuration, modules, mixers, the decoder and how text is generated.
#include "nn/config/kinds/attention.h"
#include "nn/config/kinds/hsm.h"
#include "nn/config/kinds/mixed_heads.h"
#include "nn/config/layer_fields.h"
#include "nn/config/layer_kinds.h"
#include "nn/config/layer_rules.h"
#include "nn/config/model_config.h"
#include "nn/config/patterns/mixer_pattern.h"
#include "nn/config/patterns/shortcut_pattern.h"
#include "nn/mixers/attention_mixer.h"
#include "nn/mixers/hsm_mixer.h"
#include "nn/mixers/hsm_mixing.h"
#include "nn/mixers/laws/mixer_laws.h"
#include "nn/mixers/mixed_heads_mixer.h"
#include "nn/mixers/mixer.h"
#include "nn/mixers/mixer_kinds.h"
#include "nn/mixers/shortcut_mixer.h"
#include "nn/model/batch_generator.h"
#include "nn/model/decoder.h"
#include "nn/model/decoding_session.h"
#include "nn/model/generator.h"
#include "nn/modules/layers.h"
#include "nn/modules/parameter.h"

// Data and training.
#include "nn/data/documents.h"
#include "nn/data/ngram.h"
#include "nn/data/readers/reader.h"
#include "nn/data/sources.h"
#include "nn/data/task_batches.h"
#include "nn/data/tasks/task.h"
#include "nn/data/token_data.h"
#include "nn/evaluation/evaluation.h"
#include "nn/evaluation/likelihood.h"
#include "nn/evaluation/task_evaluation.h"
#include "nn/evaluation/token_losses.h"
#include "nn/exchange/export.h"
#include "nn/exchange/import.h"
#include "nn/tokenizers/byte_tokenizer.h"
#include "nn/tokenizers/char_tokenizer.h"
#include "nn/tokenizers/tokenizer.h"
#include "nn/tokenizers/tokenizer_types.h"
#include "nn/training/checkpoint.h"
#include "nn/training/objective.h"
#include "nn/training/optimizers/adamw.h"
#include "nn/training/optimizers/registry.h"
#include "nn/training/schedule.h"
#include "nn/training/train_step.h"
#include "nn/training/trainer.h"
