// What the page asks of the library, as one JSON object for each request and one for each answer.
//
//   Session session;
//   session.answer({{"do", "text"}, {"text", "..."}});
//   session.answer({{"do", "model"}, {"preset", "char-hsm"}, {"values", {{"d-model", "64"}}}});
//   session.answer({{"do", "train"}, {"milliseconds", 100}});   // the losses of the steps that ran in this time
//
// Values that a user typed are texts here and read as the command line reads them, so that a wrong one has the same
// message. README.md lists the requests.
#pragma once

#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "nn/data/token_data.h"
#include "nn/training/trainer.h"

namespace mixgrad::app {

class Session {
 public:
  using Json = nlohmann::ordered_json;

  // The answer to a request. Any mixgrad::Error: a wrong value, or a request before what it needs ("model" before
  // "text"). Text and model stay as they were, unless memory was made free for those that should take their place.
  Json answer(const Json& request);
  bool has_model() const { return model_.has_value(); }

 private:
  struct Model {
    std::unique_ptr<Decoder> decoder;
    std::unique_ptr<Optimizer> optimizer;
    std::unique_ptr<Trainer> trainer;
    Trainer::Options how;
    std::int64_t step = 0;
    Rng rng{0};
  };

  static Json describe(const Json& request);
  Json open_text(const Json& request);
  Json make_model(const Json& request);
  Json train(const Json& request);
  Json update(const Json& request);
  Json evaluate(const Json& request);
  Json sample(const Json& request);
  static Json gradcheck(const Json& request);
  Json explore(const Json& request);
  Json walk_step(const Json& request);

  TokenData& text();
  void drop_model();
  Model& model();
  std::vector<std::int32_t> encoded(const std::string& text, std::int64_t most, Json& answer);
  std::string made() const;

  std::optional<TokenData> text_;
  std::optional<Model> model_;  // refers to text_
};

}  // namespace mixgrad::app
