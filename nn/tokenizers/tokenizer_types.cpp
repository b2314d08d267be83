#include "nn/tokenizers/tokenizer_types.h"

#include <algorithm>
#include <deque>
#include <mutex>

#include "core/error.h"
#include "core/text/suggest.h"
#include "nn/files/strict_json.h"
#include "nn/tokenizers/built_in.h"
#include "nn/tokenizers/hugging_face/hugging_face_internal.h"
#include "nn/tokenizers/ids_tokenizer.h"

namespace mixgrad {
namespace {

void check_tokenizer_type(const TokenizerType& type) {
  const auto require = [&](bool present, const char* part) {
    if (!present) {
      raise<ValueError>("tokenizer type ", quote(type.name), ": the part ", part,
                        " is required; it is missing; set it");
    }
  };
  require(!type.name.empty(), "name");
  require(!type.summary.empty(), "summary");
  require(type.load != nullptr, "load");
}

// Never shrinks, so that references to its elements stay valid.
class TokenizerRegistry {
 public:
  static TokenizerRegistry& instance() {
    static TokenizerRegistry registry;
    return registry;
  }

  void add(TokenizerType type) {
    check_tokenizer_type(type);
    const std::lock_guard lock(mutex_);
    if (lookup(type.name) != nullptr) {
      raise<ValueError>("tokenizer type ", quote(type.name), ": the name is taken; choose another one than ",
                        join(all_names()));
    }
    types_.push_back(std::move(type));
  }

  const TokenizerType* find(const std::string& name) const {
    const std::lock_guard lock(mutex_);
    return lookup(name);
  }
  std::vector<std::string> names() const {
    const std::lock_guard lock(mutex_);
    return all_names();
  }

 private:
  TokenizerRegistry() {
#define TOKENIZER(type)                   \
  add(built_in::type##_tokenizer_type()); \
  MIXGRAD_ASSERT(types_.back().name == #type, "a built-in type has the name that tokenizers.def gives it");
#include "nn/tokenizers/tokenizers.def"
#undef TOKENIZER
  }

  const TokenizerType* lookup(const std::string& name) const {
    const auto found = std::find_if(types_.begin(), types_.end(), [&](const auto& type) { return type.name == name; });
    return found == types_.end() ? nullptr : &*found;
  }
  std::vector<std::string> all_names() const {
    std::vector<std::string> names;
    for (const TokenizerType& type : types_) names.push_back(type.name);
    return names;
  }

  mutable std::mutex mutex_;
  std::deque<TokenizerType> types_;
};

}  // namespace

void register_tokenizer_type(TokenizerType type) { TokenizerRegistry::instance().add(std::move(type)); }

std::vector<std::string> tokenizer_type_names() { return TokenizerRegistry::instance().names(); }

const TokenizerType& tokenizer_type(const std::string& name) {
  const TokenizerType* type = TokenizerRegistry::instance().find(name);
  if (type == nullptr) {
    const std::vector<std::string> names = tokenizer_type_names();
    raise<ValueError>("tokenizer: the type must be one of ", join(names), "; got ", quote(name), "; ",
                      did_you_mean(name, names), "choose one of them");
  }
  return *type;
}

std::vector<std::string> tokenizer_names() {
  std::vector<std::string> names;
  for (const std::string& name : tokenizer_type_names()) {
    const TokenizerType& type = tokenizer_type(name);
    if (type.make) names.push_back(type.argument.empty() ? name : name + ":" + type.argument);
  }
  return names;
}

bool names_tokenizer(std::string_view name) {
  const TokenizerType* type = TokenizerRegistry::instance().find(std::string(name.substr(0, name.find(':'))));
  return type != nullptr && type->make != nullptr;
}

TokenizerType named_tokenizer_type(const std::string& name) {
  const std::size_t colon = name.find(':');
  const std::string before = name.substr(0, colon);
  if (!names_tokenizer(name)) {
    const std::vector<std::string> names = tokenizer_names();
    raise<ValueError>("tokenizer: the name must be one of ", join(names), "; got ", quote(name), "; ",
                      did_you_mean(before, tokenizer_type_names()), "choose one of them");
  }
  TokenizerType type = tokenizer_type(before);
  const std::string argument = colon == std::string::npos ? "" : name.substr(colon + 1);
  if (type.argument.empty() && colon != std::string::npos) {
    raise<ValueError>("tokenizer: ", before, " takes nothing behind its name; got ", quote(name), "; write ", before);
  }
  if (!type.argument.empty() && argument.empty()) {
    raise<ValueError>("tokenizer: ", before, " must have the form ", before, ":", type.argument, "; got ", quote(name),
                      "; add what is missing");
  }
  type.make = [make = type.make, argument](const TokenizerInput& input) {
    TokenizerInput with_argument = input;
    with_argument.argument = argument;
    return make(with_argument);
  };
  return type;
}

TokenizerPtr make_tokenizer(const std::string& name, const TokenizerInput& input) {
  return named_tokenizer_type(name).make(input);
}

TokenizerPtr load_tokenizer(std::string_view json, const std::string& source) {
  const nlohmann::json root = parse_strict_json(json, source);
  const JsonPlace place{source, ""};
  if (json_object(root, place).contains("model") && !root.contains("type")) {
    return hugging_face_tokenizer(root, json, source);
  }
  const nlohmann::json& name = json_at(root, place, "type");
  if (name == "ids") return load_ids_tokenizer(json, source);
  const TokenizerType* type =
      name.is_string() ? TokenizerRegistry::instance().find(name.get_ref<const std::string&>()) : nullptr;
  if (type == nullptr) place.key("type").wrong("one of " + join(tokenizer_type_names()), name);
  return type->load(json, source);
}

}  // namespace mixgrad
