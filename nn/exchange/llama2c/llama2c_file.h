// A checkpoint of llama2.c, version 0 (github.com/karpathy/llama2.c, export.py, legacy_export): little-endian, seven
// int32, then float32 tensors without names in a fixed order:
//   dim D, hidden_dim F, n_layers L, n_heads H, n_kv_heads G, vocab_size V, seq_len S; V is negative when the head has
//   a matrix of its own
//   token_embedding_table [V,D]; rms_att_weight [L,D]; wq [L,D,D]; wk, wv [L,G dh,D]; wo [L,D,D]; rms_ffn_weight [L,D];
//   w1 [L,F,D]; w2 [L,D,F]; w3 [L,F,D]; rms_final_weight [D]; freq_cis_real, freq_cis_imag [S,dh/2]; wcls [V,D]
// The model: RMSNorm with eps 1e-5, SwiGLU (w1 the gate, w3 up, w2 down), rotary positions of base 10,000 over
// neighbouring pairs of channels, whose cosines and sines are the two freq_cis tables (run.c does not read them).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "nn/config/model_config.h"
#include "nn/exchange/tensor_recipe.h"
#include "nn/files/file.h"

namespace mixgrad {

class Llama2cFile {
 public:
  // FormatError: sizes that are no model's or that exceed this library's limits, or a length that is not theirs.
  static Llama2cFile parse(MappedFile file);

  const ModelConfig& config() const { return config_; }  // context = seq_len
  // One of the parts of llama2c_recipes(config()).
  Tensor read(const TheirTensor& part) const;

 private:
  MappedFile file_;
  ModelConfig config_;
};

// Whether a file can be one: the seven numbers are positive (V may be negative) and D is a multiple of H, H of G.
bool begins_llama2c_model(std::string_view content);
// Whether it is one of a later version, which has a magic number ("ak42").
bool begins_later_llama2c_model(std::string_view content);

// The recipes for a model of this form. The names of the parts, which the file does not have, are those above, in
// layers with the number of the layer behind them: "wq[3]".
TensorRecipes llama2c_recipes(const ModelConfig& config);

// Why run.c could not compute this model, as "what is required; what the model has"; "" when it could.
std::string llama2c_objection(const ModelConfig& config);

// The whole file; read() gives a parameter of ours in f32.
void write_llama2c(const std::filesystem::path& path, const ModelConfig& config,
                   const std::function<Tensor(const std::string& parameter)>& read);

}  // namespace mixgrad
