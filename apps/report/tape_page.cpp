#include "apps/report/tape_page.h"

#include <cmath>
#include <cstdio>
#include <cstdlib>

#include "apps/report/explore_page.h"
#include "apps/report/html.h"
#include "apps/report/page_texts.h"

namespace mixgrad::app {
namespace {

using Json = nlohmann::ordered_json;

// What is drawn, to the digits that are shown.
Json rounded(double value, const char* format) {
  if (!std::isfinite(value)) return nullptr;
  char text[40];
  std::snprintf(text, sizeof text, format, value);
  return std::strtod(text, nullptr);
}

Json shape_json(const Shape& shape) {
  Json list = Json::array();
  for (int i = 0; i < shape.rank(); ++i) list.push_back(shape[i]);
  return list;
}

Json picture_json(const TensorPicture& picture) {
  Json cells = Json::array();
  for (const double cell : picture.cells) cells.push_back(rounded(cell, "%.3g"));
  return Json{{"shape", shape_json(picture.shape)},
              {"low", rounded(picture.low, "%.5g")},
              {"high", rounded(picture.high, "%.5g")},
              {"mean", rounded(picture.mean, "%.5g")},
              {"size", rounded(picture.size, "%.5g")},
              {"rows", picture.rows},
              {"columns", picture.columns},
              {"cells", cells}};
}

Json picture_json(const std::optional<TensorPicture>& picture) { return picture ? picture_json(*picture) : Json(); }

Json check_json(const std::optional<GradcheckReport>& check) {
  if (!check) return nullptr;
  Json rows = Json::array();
  for (const GradcheckRow& row : check->rows) {
    rows.push_back(Json{{"direction", row.input},
                        {"error", rounded(row.max_rel_error, "%.3g")},
                        {"largest", rounded(row.largest, "%.5g")},
                        {"vacuous", row.vacuous},
                        {"sabotage_caught", row.sabotage_caught},
                        {"pass", row.pass}});
  }
  return Json{{"pass", check->pass}, {"worst", rounded(check->worst, "%.3g")}, {"rows", rows}};
}

}  // namespace

Json step_json(const StepWalk& walk, const std::vector<std::int32_t>& tokens, const Tokenizer& tokenizer,
               const std::optional<GradcheckReport>& check) {
  Json texts = Json::array();
  for (const std::int32_t id : tokens) texts.push_back(Json{{"id", id}, {"text", token_text(tokenizer, id)}});
  Json entries = Json::array();
  for (const StepEntry& entry : walk.entries) {
    Json outputs = Json::array();
    for (const TensorPicture& output : entry.outputs) outputs.push_back(picture_json(output));
    Json inputs = Json::array();
    for (std::size_t i = 0; i < entry.parameters.size(); ++i) {
      inputs.push_back(Json{{"parameter", entry.parameters[i]}, {"gradient", picture_json(entry.gradients[i])}});
    }
    Json saved = Json::array();
    for (const Shape& shape : entry.saved) saved.push_back(shape_json(shape));
    entries.push_back(Json{{"op", entry.spec->name},
                           {"formula", entry.spec->formula},
                           {"derivative", entry.spec->gradient},
                           {"saves", entry.spec->saves},
                           {"saved", saved},
                           {"saved_bytes", entry.saved_bytes},
                           {"outputs", outputs},
                           {"inputs", inputs}});
  }
  Json parameters = Json::array();
  for (const StepParameter& parameter : walk.parameters) {
    parameters.push_back(Json{{"name", parameter.name},
                              {"value", picture_json(parameter.value)},
                              {"gradient", picture_json(parameter.gradient)}});
  }
  return Json{{"tokens", texts},
              {"loss", walk.loss},
              {"entries", entries},
              {"parameters", parameters},
              {"check", check_json(check)}};
}

std::string tape_page(const Json& numbers, const std::string& title, const std::string& made) {
  return filled_page(kTapeHtml,
                     {{"TITLE", html_text(title)},
                      {"MADE", html_text(made)},
                      {"STYLE", kReportCss},
                      {"SCRIPT", std::string(kPictureJs) + kTapeJs},
                      {"DATA", json_in_script(numbers.dump(-1, ' ', false, Json::error_handler_t::replace))}});
}

}  // namespace mixgrad::app
