#include "nn/training/trainer_state.h"

#include <cmath>
#include <limits>

#include "core/text/suggest.h"
#include "nn/files/hash.h"
#include "nn/files/strict_json.h"

namespace mixgrad {
namespace {

using nlohmann::json;
using nlohmann::ordered_json;

constexpr const char* kFormat = "mixgrad-trainer-1";
constexpr std::int64_t kMaxSteps = 1'000'000'000;

// Of all values but "xxh3", whatever their order and the blanks between them.
std::string hash_of_values(json root) {
  root.erase("xxh3");
  return xxh3_hex(root.dump(-1, ' ', false, json::error_handler_t::replace));
}

double number_or_null(const json& object, const JsonPlace& parent, const char* key) {
  const json& value = object[key];
  if (value.is_null()) return std::nan("");
  if (!value.is_number()) parent.key(key).wrong("a number or null", value);
  return value.get<double>();
}

std::uint64_t unsigned_number(const json& value, const JsonPlace& place) {
  if (!value.is_number_unsigned()) place.wrong("an integer from 0 to " + std::to_string(UINT64_MAX), value);
  return value.get<std::uint64_t>();
}

std::optional<TrainerState::Best> parse_best(const json& value, const JsonPlace& place, std::int64_t step) {
  if (value.is_null()) return std::nullopt;
  json_exact_keys(value, place, {"step", "val_loss"});
  TrainerState::Best best;
  best.step = json_integer(value["step"], place.key("step"), 0, step);
  if (!value["val_loss"].is_number()) place.key("val_loss").wrong("a number", value["val_loss"]);
  best.val_loss = value["val_loss"].get<double>();
  return best;
}

std::optional<TrainerState::Last> parse_last(const json& value, const JsonPlace& place) {
  if (value.is_null()) return std::nullopt;
  json_exact_keys(value, place, {"loss", "lr", "grad_norm", "tokens_per_s"});
  return TrainerState::Last{number_or_null(value, place, "loss"), number_or_null(value, place, "lr"),
                            number_or_null(value, place, "grad_norm"), number_or_null(value, place, "tokens_per_s")};
}

void parse_schedule_record(const json& value, const JsonPlace& place, TrainerState& state) {
  json_exact_keys(value, place, {"formula", "lengthened"});
  state.schedule_formula = json_integer(value["formula"], place.key("formula"), 1, kScheduleFormula);
  const JsonPlace list = place.key("lengthened");
  for (std::size_t i = 0; i < json_array(value["lengthened"], list).size(); ++i) {
    const json& item = value["lengthened"][i];
    const JsonPlace here = list.index(i);
    json_exact_keys(item, here, {"after", "from", "to"});
    const std::int64_t from = json_integer(item["from"], here.key("from"), 1, kMaxSteps);
    state.lengthened.push_back({json_integer(item["after"], here.key("after"), 0, state.step), from,
                                json_integer(item["to"], here.key("to"), from, kMaxSteps)});
  }
}

void parse_lineage(const json& value, const JsonPlace& place, TrainerState& state) {
  json_exact_keys(value, place, {"course", "parent"});
  state.course = json_integer(value["course"], place.key("course"), 0, kMaxSteps);
  if (!value["parent"].is_null()) state.parent = json_integer(value["parent"], place.key("parent"), 0, state.step);
}

MatmulChoices parse_matmul(const json& value, const JsonPlace& place) {
  json_exact_keys(value, place, {"library", "algorithms"});
  MatmulChoices choices;
  choices.library = json_string(value["library"], place.key("library"));
  const JsonPlace table = place.key("algorithms");
  if (json_object(value["algorithms"], table).empty()) table.fail(" must hold at least one product; found none");
  for (const auto& item : json_object(value["algorithms"], table).items()) {
    const std::string text = json_string(item.value(), table.key(item.key()));
    if (text.size() != 128 || text.find_first_not_of("0123456789abcdef") != std::string::npos) {
      table.key(item.key()).wrong("128 hexadecimal digits", item.value());
    }
    choices.algorithms[item.key()] = text;
  }
  return choices;
}

TrainerState::Teacher parse_teacher(const json& value, const JsonPlace& place) {
  json_exact_keys(value, place, {"path", "xxh3"});
  TrainerState::Teacher teacher{bytes_of_json_text(json_string(value["path"], place.key("path"))),
                                json_string(value["xxh3"], place.key("xxh3"))};
  if (!is_xxh3_hex(teacher.xxh3)) place.key("xxh3").wrong("16 hexadecimal digits", value["xxh3"]);
  return teacher;
}

}  // namespace

std::string to_json(const TrainerState& state) {
  ordered_json root;
  root["format"] = kFormat;
  root["step"] = state.step;
  root["optimizer_steps"] = state.optimizer_steps;
  root["skipped"] = state.skipped;
  root["rng"] = {{"seed", state.rng_seed}, {"counter", state.rng_counter}};
  root["text"] = {{"bytes", state.text_bytes}, {"xxh3", state.text_xxh3}};
  root["best"] = nullptr;
  if (state.best) root["best"] = {{"step", state.best->step}, {"val_loss", state.best->val_loss}};
  root["evaluations_since_best"] = state.evaluations_since_best;
  root["evaluation_due"] = state.evaluation_due;
  root["last"] = nullptr;
  if (state.last) {
    root["last"] = {{"loss", state.last->loss},
                    {"lr", state.last->lr},
                    {"grad_norm", state.last->grad_norm},
                    {"tokens_per_s", state.last->tokens_per_s}};
  }
  ordered_json& options = root["options"] = ordered_json::object();
  for (const auto& [option, value] : state.options) options[option] = json_text(value);
  ordered_json lengthened = ordered_json::array();
  for (const TrainerState::Lengthening& item : state.lengthened) {
    lengthened.push_back({{"after", item.after}, {"from", item.from}, {"to", item.to}});
  }
  root["schedule"] = {{"formula", state.schedule_formula}, {"lengthened", lengthened}};
  root["lineage"] = {{"course", state.course}, {"parent", nullptr}};
  if (state.parent) root["lineage"]["parent"] = *state.parent;
  if (!state.matmul.algorithms.empty()) {
    root["matmul"] = {{"library", state.matmul.library}, {"algorithms", state.matmul.algorithms}};
  }
  if (state.teacher) root["teacher"] = {{"path", json_text(state.teacher->path)}, {"xxh3", state.teacher->xxh3}};
  root["xxh3"] = hash_of_values(root);
  return root.dump(2, ' ', false, json::error_handler_t::replace) + "\n";
}

TrainerState parse_trainer_state(std::string_view text, const std::string& source) {
  const json root = parse_strict_json(text, source);
  const JsonPlace place{source, ""};
  if (!text.ends_with("}\n")) place.fail("the file must end with \"}\" and a line end; it is truncated or was edited");
  json required = json_object(root, place);
  for (const char* key : {"matmul", "schedule", "lineage", "teacher"}) required.erase(key);
  json_exact_keys(required, place,
                  {"format", "step", "optimizer_steps", "skipped", "rng", "text", "best", "evaluations_since_best",
                   "evaluation_due", "last", "options", "xxh3"});
  if (root["format"] != kFormat) place.key("format").wrong(quote(kFormat), root["format"]);
  TrainerState state;
  state.step = json_integer(root["step"], place.key("step"), 0, kMaxSteps);
  state.optimizer_steps = json_integer(root["optimizer_steps"], place.key("optimizer_steps"), 0, state.step);
  state.skipped = json_integer(root["skipped"], place.key("skipped"), 0, state.step);
  if (state.optimizer_steps + state.skipped != state.step) {
    place.key("optimizer_steps")
        .fail(" and skipped must add up to step (" + std::to_string(state.step) + "); found " +
              std::to_string(state.optimizer_steps) + " and " + std::to_string(state.skipped));
  }
  const JsonPlace rng = place.key("rng");
  json_exact_keys(root["rng"], rng, {"seed", "counter"});
  state.rng_seed = unsigned_number(root["rng"]["seed"], rng.key("seed"));
  state.rng_counter = unsigned_number(root["rng"]["counter"], rng.key("counter"));
  const JsonPlace data = place.key("text");
  json_exact_keys(root["text"], data, {"bytes", "xxh3"});
  state.text_bytes = unsigned_number(root["text"]["bytes"], data.key("bytes"));
  state.text_xxh3 = json_string(root["text"]["xxh3"], data.key("xxh3"));
  if (!is_xxh3_hex(state.text_xxh3)) data.key("xxh3").wrong("16 hexadecimal digits", root["text"]["xxh3"]);
  state.best = parse_best(root["best"], place.key("best"), state.step);
  state.evaluations_since_best =
      json_integer(root["evaluations_since_best"], place.key("evaluations_since_best"), 0, kMaxSteps);
  state.evaluation_due = json_bool(root["evaluation_due"], place.key("evaluation_due"));
  state.last = parse_last(root["last"], place.key("last"));
  if (!state.last && state.step > 0) place.key("last").fail(" must be an object after the first step; found null");
  const JsonPlace options = place.key("options");
  for (const auto& item : json_object(root["options"], options).items()) {
    state.options[item.key()] = bytes_of_json_text(json_string(item.value(), options.key(item.key())));
  }
  state.schedule_formula = 1;
  if (root.contains("schedule")) parse_schedule_record(root["schedule"], place.key("schedule"), state);
  if (root.contains("lineage")) parse_lineage(root["lineage"], place.key("lineage"), state);
  if (root.contains("matmul")) state.matmul = parse_matmul(root["matmul"], place.key("matmul"));
  if (root.contains("teacher")) state.teacher = parse_teacher(root["teacher"], place.key("teacher"));
  const std::string is = hash_of_values(root);
  if (root["xxh3"] != is) {
    place.key("xxh3").wrong(quote(is) + ", that of the other values; the file was damaged or edited", root["xxh3"]);
  }
  return state;
}

}  // namespace mixgrad
