#include "apps/report/explore_page.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <cstdlib>

#include "apps/report/html.h"
#include "apps/report/page_texts.h"
#include "core/text/utf8.h"

namespace mixgrad::app {
namespace {

using Json = nlohmann::ordered_json;

Json number(double value) { return std::isfinite(value) ? Json(value) : Json(); }

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values.empty() ? 0 : values[values.size() / 2];
}

// Beyond so many tokens a map has a column for several of them.
constexpr std::size_t kMapColumns = 256;
std::size_t tokens_per_column(std::size_t tokens) { return (tokens + kMapColumns - 1) / kMapColumns; }
std::size_t bytes_per_weight(std::size_t tokens) { return tokens > kMapColumns ? 2 : 3; }

// A value between 0 and 1 by the four digits that the page prints of it (JavaScript's toPrecision(4), halves upwards),
// so that what is shown is never the rounding of something rounded before: 0 for 0, else 1 + 9000 k + (m - 1000), which
// stands for m 10^-(3+k) with m from 1000 to 9999. In two bytes k ends at 6: what is below 1e-6 counts as 0.
unsigned stored_weight(double value, std::size_t bytes) {
  value = std::clamp(value, 0.0, 1.0);
  std::array<char, 16> text{};
  std::snprintf(text.data(), text.size(), "%.3e", value);  // "1.234e-05", halves to the even digit
  int digits = (text[0] - '0') * 1000 + (text[2] - '0') * 100 + (text[3] - '0') * 10 + (text[4] - '0');
  int power = -std::atoi(text.data() + 6);
  if (digits == 0) return 0;
  // Exactly half a digit above, as only a value of few binary places can be.
  if (power <= 18 && std::fma(value, std::pow(10.0, 3 + power), -(digits + 0.5)) == 0) ++digits;
  if (digits == 10000) {
    digits = 1000;
    --power;
  }
  if (bytes == 2 && power > 6) return 0;
  return static_cast<unsigned>(1 + 9000 * power + (digits - 1000));
}

enum class Fold : unsigned char { sum, mean };  // of the tokens that share a column

// The lower triangle of values [T,T] between 0 and 1.
Json folded(const std::vector<double>& values, std::size_t tokens, Fold fold) {
  const std::size_t width = tokens_per_column(tokens);
  const std::size_t bytes = bytes_per_weight(tokens);
  std::string out;
  for (std::size_t i = 0; i < tokens; ++i) {
    for (std::size_t begin = 0; begin <= i; begin += width) {
      const std::size_t end = std::min(begin + width, i + 1);
      double value = 0;
      for (std::size_t j = begin; j < end; ++j) value += values[i * tokens + j];
      if (fold == Fold::mean) value /= static_cast<double>(end - begin);
      const unsigned stored = stored_weight(value, bytes);
      for (std::size_t byte = 0; byte < bytes; ++byte) out += static_cast<char>(stored >> 8 * byte & 255U);
    }
  }
  return base64(out);
}

Json map_json(const std::vector<double>& values, std::size_t tokens, Fold fold, WeightForm form) {
  return form == WeightForm::maps ? folded(values, tokens, fold) : Json(values);
}

// Rows of `width` values.
Json rows_json(const std::vector<double>& values, std::int64_t width) {
  Json rows = Json::array();
  for (auto at = values.begin(); at != values.end(); at += width) rows.push_back(std::vector<double>(at, at + width));
  return rows;
}

void add_view(const HeadView& view, Json& to) {
  to["recency"] = view.recency;
  to["uniform"] = view.uniform_recency;
  to["distance"] = view.distance;
  to["distance_uniform"] = view.uniform_distance;
  to["by_distance"] = view.by_distance;
  to["by_distance_uniform"] = view.uniform_by_distance;
}

Json softmax_json(const Exploration& e, WeightForm form) {
  Json heads = Json::array();
  for (const SoftmaxHead& head : e.softmax) {
    Json one{{"layer", head.layer}, {"head", head.head}, {"window", head.window}};
    add_view(head.view, one);
    one["weights"] = map_json(head.weights, e.tokens.size(), Fold::sum, form);
    heads.push_back(one);
  }
  return heads;
}

Json mamba_json(const Exploration& e, WeightForm form) {
  Json heads = Json::array();
  for (std::size_t h = 0; h < e.mamba.size(); ++h) {
    const MambaDecay& rest = e.mamba[h];
    const MambaHead& head = e.mamba_heads[h];
    const double most = rest.longest.empty() ? 0 : *std::max_element(rest.longest.begin(), rest.longest.end());
    Json one{{"layer", rest.layer},
             {"head", rest.head},
             {"shortest", median(rest.shortest)},
             {"longest", median(rest.longest)},
             {"most", most}};
    add_view(head.view, one);
    one["half_life"] = head.half_life > 0 ? Json(head.half_life) : Json();
    one["left_by_lag"] = head.left_by_lag;
    one["step"] = rows_json(head.attention.step, head.attention.groups);
    one["kept"] = rows_json(head.attention.kept, head.attention.groups);
    one["strength"] = head.attention.strength;
    one["weights"] = map_json(head.attention.weights, e.tokens.size(), Fold::sum, form);
    one["left"] = map_json(head.attention.left, e.tokens.size(), Fold::mean, form);
    heads.push_back(one);
  }
  return heads;
}

Json shift_paths_json(const Exploration& e) {
  Json heads = Json::array();
  for (const HeadPaths& head : e.shift_paths) {
    Json paths = Json::array();
    for (const ShiftPath& path : head.paths) {
      paths.push_back(
          Json{{"lag", path.lag}, {"jumps", path.jumps}, {"weight", path.weight ? Json(*path.weight) : Json()}});
    }
    heads.push_back(Json{{"head", head.head}, {"complete", head.complete}, {"paths", paths}});
  }
  return heads;
}

Json lens_json(const Exploration& e, const Tokenizer& tokenizer) {
  Json lens = Json::array();
  for (std::size_t l = 0; l < e.lens.size(); ++l) {
    Json layer = Json::array();
    for (std::size_t i = 0; i < e.tokens.size(); ++i) {
      layer.push_back(Json{{"text", token_text(tokenizer, e.lens[l][i].token)},
                           {"p", e.lens[l][i].probability},
                           {"next", number(e.lens_of_next[l][i])}});
    }
    lens.push_back(layer);
  }
  return lens;
}

}  // namespace

std::string token_text(const Tokenizer& tokenizer, std::int32_t id) {
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

Json exploration_json(const Exploration& e, const Tokenizer& tokenizer, WeightForm form) {
  Json tokens = Json::array();
  for (const std::int32_t id : e.tokens) tokens.push_back(Json{{"id", id}, {"text", token_text(tokenizer, id)}});
  Json guesses = Json::array();
  for (const std::vector<Guess>& of_token : e.guesses) {
    Json list = Json::array();
    for (const Guess& guess : of_token) {
      list.push_back(Json{{"text", token_text(tokenizer, guess.token)}, {"p", guess.probability}});
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
  return Json{{"tokens", tokens},
              {"recency_window", e.recency_window},
              {"tokens_per_column", form == WeightForm::maps ? tokens_per_column(e.tokens.size()) : 1},
              {"bytes_per_weight", bytes_per_weight(e.tokens.size())},
              {"losses", e.losses},
              {"guesses", guesses},
              {"lens", lens_json(e, tokenizer)},
              {"softmax", softmax_json(e, form)},
              {"shift", shift},
              {"paths", Json{{"layers", e.paths.layers},
                             {"receptive_field", e.paths.receptive_field},
                             {"paths", e.paths.paths},
                             {"weights", e.paths.weights}}},
              {"shift_paths", shift_paths_json(e)},
              {"mamba", mamba_json(e, form)},
              {"sources", e.sources},
              {"depth", e.depth},
              {"effective_depth", e.effective_depth}};
}

std::string explore_page(const Json& numbers, const std::string& title, const std::string& made) {
  return filled_page(kExploreHtml,
                     {{"TITLE", html_text(title)},
                      {"MADE", html_text(made)},
                      {"STYLE", kReportCss},
                      {"SCRIPT", std::string(kPictureJs) + kExploreJs},
                      {"DATA", json_in_script(numbers.dump(-1, ' ', false, Json::error_handler_t::replace))}});
}

}  // namespace mixgrad::app
