#include "apps/web/session.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <utility>

#include "apps/generation/prompt.h"
#include "apps/options/option_value.h"
#include "apps/report/explore_page.h"
#include "apps/report/tape_page.h"
#include "apps/web/model_form.h"
#include "build_info.h"
#include "core/allocator.h"
#include "core/error.h"
#include "core/text/plural.h"
#include "core/text/suggest.h"
#include "nn/analysis/exploration.h"
#include "nn/analysis/step_walk.h"
#include "nn/evaluation/evaluation.h"
#include "nn/model/generator.h"
#include "nn/tokenizers/tokenizer_types.h"
#include "nn/training/train_step.h"
#include "ops/cases/case_gradients.h"

namespace mixgrad::app {
namespace {

using Json = Session::Json;

constexpr std::int64_t kMostParameters = 20'000'000;
constexpr std::int64_t kMostTokensShown = 256;  // of an explorer: each token has a column of its own
constexpr std::int64_t kRecency = 8;

std::string text_of(const Json& request, const char* name, const std::string& otherwise = "") {
  const auto found = request.find(name);
  return found == request.end() ? otherwise : found->get<std::string>();
}

double seconds_now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

double root_mean_square(const Tensor& tensor) {
  double sum = 0;
  for (const double v : tensor.to_vector()) sum += v * v;
  return std::sqrt(sum / static_cast<double>(std::max<std::int64_t>(1, tensor.numel())));
}

std::string version() { return std::string("mixgrad ") + MIXGRAD_VERSION + " (commit " + MIXGRAD_COMMIT + ")"; }

}  // namespace

Json Session::answer(const Json& request) {
  const std::string what = text_of(request, "do");
  if (what == "describe") return describe(request);
  if (what == "text") return open_text(request);
  if (what == "model") return make_model(request);
  if (what == "train") return train(request);
  if (what == "update") return update(request);
  if (what == "evaluate") return evaluate(request);
  if (what == "sample") return sample(request);
  if (what == "gradcheck") return gradcheck(request);
  if (what == "explore") return explore(request);
  if (what == "step") return walk_step(request);
  raise<ValueError>("web: there is no request ", quote(what));
}

TokenData& Session::text() {
  if (!text_) raise<ValueError>("a text is required first; there is none; open one");
  return *text_;
}

Session::Model& Session::model() {
  if (!model_) raise<ValueError>("a model is required first; there is none; make one");
  return *model_;
}

void Session::drop_model() {
  model_.reset();
  pool_trim(kCpu);
}

Json Session::describe(const Json&) {
  Json operators = Json::array();
  for (const test::OperatorCases& entry : test::all_cases()) {
    operators.push_back(
        Json{{"name", entry.spec->name}, {"formula", entry.spec->formula}, {"derivative", entry.spec->gradient}});
  }
  Json answer = ModelForm::describe();
  answer["version"] = version();
  answer["operators"] = operators;
  return answer;
}

Json Session::open_text(const Json& request) {
  const std::string source = text_of(request, "source", "the text");
  std::string content = text_of(request, "text");
  if (content.empty()) raise<FormatError>(source, ": a text is required; it is empty; paste or open one");
  drop_model();  // it draws from the text before
  TokenizerPtr tokenizer = make_tokenizer(text_of(request, "tokenizer", "char"), {.text = content, .source = source});
  TokenData data = TokenData::from_text(std::move(content), std::move(tokenizer), source);
  text_ = std::move(data);
  Json characters = Json::array();
  for (std::int64_t id = 0; id < std::min<std::int64_t>(text_->tokenizer().vocab_size(), 512); ++id) {
    characters.push_back(token_text(text_->tokenizer(), static_cast<std::int32_t>(id)));
  }
  return Json{{"tokens", text_->size()},
              {"train", text_->train().size()},
              {"valid", text_->valid().size()},
              {"vocabulary", text_->tokenizer().vocab_size()},
              {"characters", characters}};
}

Json Session::make_model(const Json& request) {
  const ModelForm form(request);
  const ModelConfig config = form.model().config(text().tokenizer().vocab_size());
  text().check_context(config.context);
  const EvalWindows validation(text(), text().valid(), config.context);
  std::int64_t count = 0;
  for (const auto& [name, shape] : parameter_shapes(config)) count += shape.numel();
  if (count > kMostParameters) {
    raise<ValueError>("a model in this page may have at most ", kMostParameters, " parameters; this one would have ",
                      count, "; take a smaller --d-model or fewer --layers");
  }
  drop_model();
  Model made;
  made.decoder = std::make_unique<Decoder>(config, Placement{DType::f32, kCpu});
  form.model().initialize(*made.decoder, form.training().seed);
  made.optimizer = make_optimizer(form.training().optimizer_settings(), made.decoder->parameters());
  made.how = form.training().trainer_options();
  made.trainer = make_trainer(*made.decoder, *made.optimizer, text(), made.how);
  made.rng = Rng(form.training().seed, kFirstDraw);
  made.trainer->start(0, made.rng);
  model_ = std::move(made);

  Json layers = Json::array();
  for (const LayerReport& layer : model_->decoder->report()) {
    layers.push_back(Json{{"what", layer.what}, {"parameters", layer.parameters}, {"operations", layer.operations}});
  }
  return Json{{"parameters", count},
              {"layers", layers},
              {"context", config.context},
              {"d_ff", config.d_ff},
              {"steps", model_->how.schedule.steps},
              {"tokens_per_step", model_->how.batch * model_->how.accumulate * config.context},
              {"uniform_loss", std::log(static_cast<double>(config.vocab_size))},
              {"command", form.command()}};
}

Json Session::train(const Json& request) {
  Model& run = model();
  const double milliseconds = request.value("milliseconds", 100.0);
  Json steps = Json::array();
  const double begin = seconds_now();
  bool halted = false;
  while (!halted && run.step < run.how.schedule.steps) {
    try {
      run.trainer->queue();
    } catch (const Error&) {  // too little memory: a model that cannot take a step only keeps what is left
      drop_model();
      throw;
    }
    const Trainer::Result result = run.trainer->wait();
    halted = result.halted;
    run.step = result.step;
    run.rng = Rng(run.rng.seed(), result.rng_counter);
    if (!halted) {
      steps.push_back(Json{
          {"step", result.step}, {"loss", result.loss}, {"grad", result.gradient_norm}, {"lr", result.learning_rate}});
    }
    if ((seconds_now() - begin) * 1000 >= milliseconds) break;
  }
  Json answer{{"steps", steps}, {"step", run.step}, {"seconds", seconds_now() - begin}};
  answer["finished"] = run.step >= run.how.schedule.steps;
  if (halted) {
    answer["halted"] = "training: loss and gradient must be finite numbers; those of step " +
                       std::to_string(run.step + 1) + " are not; make a new model with a smaller --lr";
  }
  return answer;
}

// One step of the run, with what it reads and changes: the bits that the trainer would give.
Json Session::update(const Json&) {
  Model& run = model();
  if (run.step >= run.how.schedule.steps) {
    raise<ValueError>("an update is a step of the run, which has ", run.how.schedule.steps,
                      "; all are done; make a new model, or give it more --steps");
  }
  const ParameterSet& parameters = run.decoder->parameters();
  Rng rng = run.rng;
  const Tensor tokens = Tensor::empty({run.how.batch * run.how.accumulate, run.decoder->config().context}, DType::i32);
  const Tensor targets = Tensor::empty(tokens.shape(), DType::i32);
  TrainStep step(*run.decoder, *run.optimizer);
  const double loss =
      accumulate_batches(step, text(), rng, run.how.accumulate, tokens, targets, {run.how.dropout, run.step});
  Json rows = Json::array();
  for (std::size_t i = 0; i < parameters.size(); ++i) {
    rows.push_back(Json{{"name", parameters[i].name},
                        {"shape", parameters[i].shape.str()},
                        {"value", root_mean_square(parameters[i].value)},
                        {"gradient", root_mean_square(step.gradients().of(i))}});
  }
  const Tensor before = parameters.flat().clone();
  const double rate = run.how.schedule.at(run.step);
  const double norm = std::isfinite(loss) ? step.apply(rate) : step.discard();
  if (!std::isfinite(loss) || !std::isfinite(norm)) {
    raise<ValueError>("training: loss and gradient must be finite numbers; those of step ", run.step + 1,
                      " are not; make a new model with a smaller --lr");
  }
  const FlatLayout layout(parameters.shapes());
  for (std::size_t i = 0; i < parameters.size(); ++i) {
    const std::vector<double> old = layout.view(before, i).to_vector(), now = parameters[i].value.to_vector();
    double sum = 0;
    for (std::size_t k = 0; k < now.size(); ++k) sum += (now[k] - old[k]) * (now[k] - old[k]);
    rows[i]["change"] = std::sqrt(sum / static_cast<double>(std::max<std::size_t>(1, now.size())));
  }
  Json batch = Json::array();
  const std::int64_t shown = std::min<std::int64_t>(tokens.dim(0), 4), length = tokens.dim(1);
  for (std::int64_t b = 0; b < shown; ++b) {
    const std::int32_t* row = tokens.data<std::int32_t>() + b * length;
    std::string line;
    for (std::int64_t t = 0; t < length; ++t) line += token_text(text().tokenizer(), row[t]);
    batch.push_back(line);
  }
  const double after = run.decoder->loss(tokens, targets).item();
  ++run.step;
  run.rng = rng;
  run.trainer->start(run.step, rng);
  return Json{{"step", run.step},
              {"steps", run.how.schedule.steps},
              {"sequences", tokens.dim(0)},
              {"length", length},
              {"batch", batch},
              {"loss", loss},
              {"gradient_norm", norm},
              {"lr", rate},
              {"after", after},
              {"parameters", rows}};
}

Json Session::evaluate(const Json& request) {
  Model& run = model();
  TokenRange range = text().valid();
  const std::int64_t most = request.value("tokens", std::int64_t{0});
  if (most > 0) range.end = std::min(range.end, range.begin + most);
  const Evaluation result = mixgrad::evaluate(*run.decoder, text(), range);
  return Json{{"step", run.step},
              {"loss", result.loss},
              {"perplexity", result.perplexity},
              {"bits_per_byte", result.bits_per_byte},
              {"targets", result.targets}};
}

Json Session::sample(const Json& request) {
  Model& run = model();
  const Tokenizer& tokenizer = text().tokenizer();
  const std::string typed = text_of(request, "prompt");
  const std::int64_t count = parse_integer("--tokens", text_of(request, "tokens", "200"), {1, 10'000});
  const double temperature =
      parse_real("--temperature", text_of(request, "temperature", "0.8"), {.low = 0, .high = 100});
  const std::uint64_t seed = parse_unsigned("--seed", text_of(request, "seed", "1"));
  const Prompt prompt =
      typed.empty() ? default_prompt(tokenizer) : Prompt{typed, encode_typed(tokenizer, typed, "--prompt")};
  Generator generator(*run.decoder, tokenizer.vocab_size(), {.temperature = temperature}, seed);
  generator.prompt(prompt.tokens);
  const auto decoder = tokenizer.new_decoder();
  std::string written;
  const double begin = seconds_now();
  for (std::int64_t i = 0; i < count; ++i) written += decoder->next(generator.next());
  written += decoder->finish();
  return Json{{"prompt", prompt.text}, {"text", written}, {"step", run.step}, {"seconds", seconds_now() - begin}};
}

Json Session::gradcheck(const Json& request) {
  const std::string name = text_of(request, "op");
  std::vector<std::string> names;
  for (const test::OperatorCases& entry : test::all_cases()) {
    names.emplace_back(entry.spec->name);
    if (name != names.back()) continue;
    const double begin = seconds_now();
    Json rows = Json::array();
    double worst = 0;
    int failed = 0, caught = 0;
    for (const test::OpCase& c : entry.make().cases) {
      for (const test::GradientRow& row : test::gradient_rows(c, DType::f64, kCpu)) {
        if (!row.pass()) ++failed;
        if (row.sabotage_caught) ++caught;
        if (!row.vacuous) worst = std::max(worst, row.error);
        rows.push_back(Json{{"case", c.note},
                            {"input", row.input},
                            {"output", row.output},
                            {"error", row.error},
                            {"zero", row.vacuous},
                            {"caught", row.sabotage_caught},
                            {"pass", row.pass()},
                            {"detail", row.detail}});
      }
    }
    return Json{{"op", name},
                {"formula", entry.spec->formula},
                {"derivative", entry.spec->gradient},
                {"saves", entry.spec->saves},
                {"allowed", test::allowed_gradient_error(DType::f64)},
                {"worst", worst},
                {"failed", failed},
                {"caught", caught},
                {"rows", rows},
                {"seconds", seconds_now() - begin}};
  }
  raise<ValueError>("--op: must be an operator, got ", quote(name), "; ", did_you_mean(name, names),
                    "operators: ", join(names));
}

// The tokens of a text that a user typed, `most` of them; what was cut off is told in the answer.
std::vector<std::int32_t> Session::encoded(const std::string& typed, std::int64_t most, Json& answer) {
  std::vector<std::int32_t> tokens = encode_typed(text().tokenizer(), typed, "--text");
  if (tokens.size() < 2) raise<ValueError>("--text must have at least 2 tokens; it has ", tokens.size());
  answer["tokens"] = tokens.size();
  if (static_cast<std::int64_t>(tokens.size()) > most) tokens.resize(static_cast<std::size_t>(most));
  answer["shown"] = tokens.size();
  return tokens;
}

std::string Session::made() const {
  const Decoder& decoder = *model_->decoder;
  return "Made by " + version() + " in a browser, from a model after " + count_text(model_->step, "step") + ": " +
         count_text(static_cast<std::int64_t>(decoder.config().layers.size()), "layer") + ", " +
         std::to_string(decoder.config().d_model) + " wide, " + std::to_string(decoder.parameters().count()) +
         " parameters";
}

Json Session::explore(const Json& request) {
  Model& run = model();
  Json answer = Json::object();
  const std::vector<std::int32_t> tokens =
      encoded(text_of(request, "text"), std::min(run.decoder->config().context, kMostTokensShown), answer);
  Json numbers =
      exploration_json(mixgrad::explore(*run.decoder, tokens, kRecency), text().tokenizer(), WeightForm::maps);
  numbers["task"] = "";
  numbers["answers"] = Json::array();
  answer["html"] = explore_page(numbers, "Where a model looks", made());
  return answer;
}

Json Session::walk_step(const Json& request) {
  Model& run = model();
  Json answer = Json::object();
  const std::vector<std::int32_t> tokens =
      encoded(text_of(request, "text"), std::min(run.decoder->config().context + 1, kMostTokensShown), answer);
  const StepWalk walk = step_walk(*run.decoder, tokens);
  std::optional<GradcheckReport> check;
  if (request.value("check", false)) {
    Decoder exact(run.decoder->config(), {DType::f64, kCpu});
    for (std::size_t i = 0; i < exact.parameters().size(); ++i) {
      exact.parameters()[i].value.copy_from(run.decoder->parameters()[i].value);
    }
    check = check_step(exact, tokens);
  }
  answer["html"] =
      tape_page(step_json(walk, tokens, text().tokenizer(), check), "One training step, operator by operator", made());
  return answer;
}

}  // namespace mixgrad::app
