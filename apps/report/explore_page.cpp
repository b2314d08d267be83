#include "apps/report/explore_page.h"

#include <algorithm>
#include <cmath>

#include "apps/report/html.h"
#include "apps/report/page_texts.h"
#include "core/text/utf8.h"

namespace mixgrad::app {
namespace {

using Json = nlohmann::ordered_json;

// The text of a token; bytes that are no characters as \xNN.
std::string text_of(const Tokenizer& tokenizer, std::int32_t id) {
  if (id >= tokenizer.vocab_size()) return "#" + std::to_string(id);  // of a padded table
  const std::string piece = tokenizer.piece(id);
  if (is_utf8(piece)) return piece;
  constexpr const char* kDigits = "0123456789abcdef";
  std::string text;
  for (const char c : piece) {
    const auto byte = static_cast<unsigned char>(c);
    text += std::string("\\x") + kDigits[byte >> 4U] + kDigits[byte & 15U];
  }
  return text;
}

Json number(double value) { return std::isfinite(value) ? Json(value) : Json(); }

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values.empty() ? 0 : values[values.size() / 2];
}

std::string triangle(const SoftmaxHead& head, std::size_t tokens) {
  std::string bytes;
  for (std::size_t i = 0; i < tokens; ++i) {
    for (std::size_t j = 0; j <= i; ++j) {
      const auto value = static_cast<unsigned>(std::lround(std::clamp(head.weights[i * tokens + j], 0.0, 1.0) * 65535));
      bytes += static_cast<char>(value & 255U);
      bytes += static_cast<char>(value >> 8U);
    }
  }
  return base64(bytes);
}

Json softmax_json(const Exploration& e, WeightForm form) {
  Json heads = Json::array();
  for (const SoftmaxHead& head : e.softmax) {
    Json one{{"layer", head.layer}, {"head", head.head}, {"window", head.window}, {"recency", head.recency}};
    one["weights"] = form == WeightForm::maps ? Json(triangle(head, e.tokens.size())) : Json(head.weights);
    heads.push_back(one);
  }
  return heads;
}

Json lens_json(const Exploration& e, const Tokenizer& tokenizer) {
  Json lens = Json::array();
  for (std::size_t l = 0; l < e.lens.size(); ++l) {
    Json layer = Json::array();
    for (std::size_t i = 0; i < e.tokens.size(); ++i) {
      layer.push_back(Json{{"text", text_of(tokenizer, e.lens[l][i].token)},
                           {"p", e.lens[l][i].probability},
                           {"next", number(e.lens_of_next[l][i])}});
    }
    lens.push_back(layer);
  }
  return lens;
}

}  // namespace

Json exploration_json(const Exploration& e, const Tokenizer& tokenizer, WeightForm form) {
  Json tokens = Json::array();
  for (const std::int32_t id : e.tokens) tokens.push_back(Json{{"id", id}, {"text", text_of(tokenizer, id)}});
  Json guesses = Json::array();
  for (const std::vector<Guess>& of_token : e.guesses) {
    Json list = Json::array();
    for (const Guess& guess : of_token) {
      list.push_back(Json{{"text", text_of(tokenizer, guess.token)}, {"p", guess.probability}});
    }
    guesses.push_back(list);
  }
  Json shift = Json::array();
  for (const ShiftHead& head : e.shift) {
    shift.push_back(Json{{"layer", head.layer},
                         {"head", head.head},
                         {"variant", head.variant},
                         {"shift", head.shift},
                         {"a", head.a ? Json(*head.a) : Json()},
                         {"b", head.b ? Json(*head.b) : Json()}});
  }
  Json mamba = Json::array();
  for (const MambaDecay& head : e.mamba) {
    const double most = head.longest.empty() ? 0 : *std::max_element(head.longest.begin(), head.longest.end());
    mamba.push_back(Json{{"layer", head.layer},
                         {"head", head.head},
                         {"shortest", median(head.shortest)},
                         {"longest", median(head.longest)},
                         {"most", most}});
  }
  return Json{
      {"tokens", tokens},
      {"recency_window", e.recency_window},
      {"losses", e.losses},
      {"guesses", guesses},
      {"lens", lens_json(e, tokenizer)},
      {"softmax", softmax_json(e, form)},
      {"shift", shift},
      {"paths",
       Json{{"receptive_field", e.paths.receptive_field}, {"paths", e.paths.paths}, {"weights", e.paths.weights}}},
      {"mamba", mamba},
      {"sources", e.sources},
      {"depth", e.depth},
      {"effective_depth", e.effective_depth}};
}

std::string explore_page(const Json& numbers, const std::string& title, const std::string& made) {
  return filled_page(kExploreHtml,
                     {{"TITLE", html_text(title)},
                      {"MADE", html_text(made)},
                      {"STYLE", kReportCss},
                      {"SCRIPT", kExploreJs},
                      {"DATA", json_in_script(numbers.dump(-1, ' ', false, Json::error_handler_t::replace))}});
}

}  // namespace mixgrad::app
