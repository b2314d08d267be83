// The options that describe a model and its data, shared by train, inspect and bench.
#pragma once

#include <filesystem>

#include "apps/options/option_set.h"
#include "apps/options/source_options.h"
#include "nn/config/model_config.h"
#include "nn/data/token_data.h"
#include "nn/model/decoder.h"

namespace mixgrad::app {

// --unknown error, skip or replace=C. ValueError for another value; "" = error.
UnknownRule parse_unknown(const std::string& text);

struct ModelOptions {
  std::vector<std::string> data;
  SourceOptions source;
  std::string task;  // "" = the data; else as Task::text() has it
  std::string unknown;
  std::string tokenizer = "char";
  std::string mixer = "attention", shortcut;
  std::string mlp = "gelu", norm = "layernorm", positions = "rope", match = "width";
  std::int64_t layers = 4, d_model = 128, heads = 4, kv_heads = 0, context = 64, d_ff = 0, vocab = 0;
  double norm_eps = 1e-5, rope_theta = 1e4, hsm_scale = 0.05;
  bool bias = false, tie = true;

  void declare(OptionSet& options);        // all of them
  void declare_model(OptionSet& options);  // all but --data and how it is read
  // --data and how it is read. `useless`, if given, says why the latter would have no effect.
  void declare_data(OptionSet& options, OnResume on_data = OnResume::not_stored,
                    OnResume on_reading = OnResume::not_stored, const std::function<std::string()>& useless = {});

  // --reset-state, for a verb that trains or evaluates; `useless` as above.
  void declare_reset_state(OptionSet& options, const std::function<std::string()>& useless);
  void declare_unknown(OptionSet& options, OptionTraits traits = {});
  // --task, of a verb that can take a task in place of data.
  void declare_task(OptionSet& options, OnResume on_resume, const std::function<std::string()>& useless = {});

  // The data to work on: --data, or the shipped tiny Shakespeare. IoError, naming --data, when neither is there.
  DataSpec data_spec() const;
  TokenData open_data(Identify identify = Identify::no) const;  // with the tokenizer of --tokenizer
  // With a tokenizer that exists, and --unknown. FormatError when its vocabulary cannot express the text; ValueError
  // when --unknown does not fit the tokenizer.
  TokenData open_data(TokenizerPtr tokenizer, Identify identify = Identify::no) const;
  ModelConfig config(std::int64_t tokenizer_vocabulary) const;
  // Draws the parameters of a new model, a and b of shift-mixing layers at --hsm-scale.
  void initialize(Decoder& model, std::uint64_t seed) const;

 private:
  // For OptionTraits::useless: what an option of texts means beside a task, else what `otherwise` says.
  std::function<std::string()> useless_for_task(const char* reason, std::function<std::string()> otherwise = {}) const;
  // Whether the sources hold token ids; false where that cannot be told.
  bool data_are_ids() const;
  // Whether --mixer has layers with the coefficients a and b; true for a pattern that is an error.
  bool mixes_by_coefficients() const;
};

const std::vector<Preset>& model_presets();

}  // namespace mixgrad::app
