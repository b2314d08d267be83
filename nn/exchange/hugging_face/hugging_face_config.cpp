#include "nn/exchange/hugging_face/hugging_face_config.h"

#include "core/error.h"
#include "core/text/suggest.h"

namespace mixgrad {
namespace {

using nlohmann::json;

constexpr std::size_t kMostShown = 120;  // bytes of a value in an error

// As describe(), but small objects and arrays are shown.
std::string shown(const json& value) {
  const std::string text = value.dump(-1, ' ', false, json::error_handler_t::replace);
  return text.size() <= kMostShown ? text : describe(value);
}

}  // namespace

HuggingFaceConfig::HuggingFaceConfig(std::string_view text, const std::string& source)
    : root_(parse_strict_json(text, source)), place_{source, ""} {
  json_object(root_, place_);
}

const json* HuggingFaceConfig::find(const std::string& key) {
  known_.insert(key);
  const auto found = root_.find(key);
  return found == root_.end() || found->is_null() ? nullptr : &*found;
}

template <class T>
T HuggingFaceConfig::noted(const std::string& key, T absent) {
  decide(key + " is not given; it is " + json(absent).dump() + ", as transformers takes it");
  return absent;
}

std::int64_t HuggingFaceConfig::size(const std::string& key, std::int64_t high) {
  const json* value = find(key);
  if (value == nullptr) place_.key(key).fail(" is required, an integer from 1; it is missing; add it");
  return json_integer(*value, place_.key(key), 1, high);
}

std::int64_t HuggingFaceConfig::size_or(const std::string& key, std::int64_t absent, std::int64_t high) {
  return find(key) == nullptr ? noted(key, absent) : size(key, high);
}

double HuggingFaceConfig::positive_or(const std::string& key, double absent) {
  const json* value = find(key);
  return value == nullptr ? noted(key, absent) : json_positive(*value, place_.key(key));
}

bool HuggingFaceConfig::flag_or(const std::string& key, bool absent) {
  const json* value = find(key);
  return value == nullptr ? absent : json_bool(*value, place_.key(key));
}

std::string HuggingFaceConfig::text_or(const std::string& key, const std::string& absent) {
  const json* value = find(key);
  return value == nullptr ? noted(key, absent) : json_string(*value, place_.key(key));
}

void HuggingFaceConfig::require(const std::string& key, const json& value, const std::string& why) {
  const json* found = find(key);
  if (found != nullptr && *found != value) refuse(key, shown(value), *found, why);
}

void HuggingFaceConfig::refuse(const std::string& key, const std::string& must, const json& found,
                               const std::string& why) const {
  raise<FormatError>(source(), ": ", key, " must be ", must, "; found ", shown(found),
                     ", which a model of mixgrad cannot express: ", why);
}

void HuggingFaceConfig::skip(std::initializer_list<const char*> keys) { known_.insert(keys.begin(), keys.end()); }

void HuggingFaceConfig::skip_common() {
  skip({"architectures",
        "model_type",
        "torch_dtype",
        "dtype",
        "transformers_version",
        "use_cache",
        "initializer_range",
        "bos_token_id",
        "eos_token_id",
        "pad_token_id",
        "sep_token_id",
        "decoder_start_token_id",
        "_name_or_path",
        "attention_dropout",
        "hidden_dropout",
        "task_specific_params",
        "problem_type",
        "return_dict",
        "return_dict_in_generate",
        "output_attentions",
        "output_hidden_states",
        "torchscript",
        "use_bfloat16",
        "id2label",
        "label2id",
        "chunk_size_feed_forward",
        "cross_attention_hidden_size",
        "finetuning_task",
        "prefix",
        "pruned_heads",
        "tie_encoder_decoder",
        "tokenizer_class",
        "tf_legacy_loss",
        "is_decoder",
        "remove_invalid_values",
        "exponential_decay_length_penalty",
        "suppress_tokens",
        "begin_suppress_tokens",
        "forced_bos_token_id",
        "forced_eos_token_id",
        "max_length",
        "min_length",
        "do_sample",
        "early_stopping",
        "num_beams",
        "num_beam_groups",
        "diversity_penalty",
        "temperature",
        "top_k",
        "top_p",
        "typical_p",
        "repetition_penalty",
        "length_penalty",
        "no_repeat_ngram_size",
        "encoder_no_repeat_ngram_size",
        "bad_words_ids",
        "num_return_sequences",
        "output_scores",
        "attn_implementation",
        "_attn_implementation",
        "_attn_implementation_autoset"});
  require("add_cross_attention", false, "a layer attends to its own sequence alone");
  require("is_encoder_decoder", false, "there is no encoder");
  if (const json* quantized = find("quantization_config")) {
    refuse("quantization_config", "absent", *quantized, "weights are read as F64, F32, BF16 or F16");
  }
}

std::vector<std::string> HuggingFaceConfig::decisions() const {
  std::vector<std::string> all = decisions_;
  std::string unknown;
  for (const auto& item : root_.items()) {
    if (known_.count(item.key()) > 0 || item.value().is_null()) continue;
    unknown += (unknown.empty() ? "" : ", ") + quote(item.key()) + " (" + shown(item.value()) + ")";
  }
  if (!unknown.empty()) all.push_back("keys of config.json that are not known here had no effect: " + unknown);
  return all;
}

}  // namespace mixgrad
