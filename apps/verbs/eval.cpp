// mixgrad eval: the loss of a trained model on a text.
#include <cstdio>
#include <nlohmann/json.hpp>

#include "apps/options/model_options.h"
#include "apps/options/placement_options.h"
#include "apps/options/verb.h"
#include "apps/output/json_line.h"
#include "core/error.h"
#include "core/parallel.h"
#include "nn/files/safetensors.h"
#include "nn/training/checkpoint.h"
#include "nn/training/evaluation.h"

namespace mixgrad::app {
namespace {

class Eval : public Verb {
 public:
  std::string name() const override { return "eval"; }
  std::string summary() const override { return "Loss of a trained model on a text: nats, perplexity, bits per byte"; }
  std::string example() const override { return "mixgrad eval --checkpoint runs/char --data data/tinyshakespeare.txt"; }

  void declare(OptionSet& options) override {
    options.add("checkpoint", checkpoint_, "Folder of a run, or one generation of it");
    options.add("data", text_.data, "Text file; without it the shipped tiny Shakespeare");
    options.add("split", split_, {"valid", "train", "all"}, "valid: the last 10 % of the tokens; train: the rest");
    options.add("batch", batch_, kBatch, "Sequences at a time");
    options.add("threads", threads_, kThreads, "Threads; 0 = all cores");
    placement_.declare(options, {"stored", "f32", "f64", "bf16"},
                       "Type of the arithmetic; stored: that of the parameters in the checkpoint");
    options.add_flag("json", json_, "One JSON object on stdout");
  }

  int run() override {
    if (checkpoint_.empty()) raise<ValueError>("eval: --checkpoint DIR is required: the folder of a training run");
    placement_.check_device();
    const ContextScope scope(placement_.context(threads_));
    const Checkpoint checkpoint = load();
    const TokenData data = text_.open_data(checkpoint.tokenizer);
    const Evaluation result = evaluate(*checkpoint.model, data, data.split(split_), batch_);
    if (json_) {
      nlohmann::ordered_json object;
      object["loss"] = result.loss;
      object["perplexity"] = result.perplexity;
      object["bits_per_byte"] = result.bits_per_byte;
      object["targets"] = result.targets;
      object["split"] = split_;
      print_json(object);
    } else {
      std::printf(
          "loss           %.4f nats a token\nperplexity     %.3f\nbits per byte  %.4f\ntokens         %lld (%s of "
          "%s)\n",
          result.loss, result.perplexity, result.bits_per_byte, static_cast<long long>(result.targets), split_.c_str(),
          data.source().c_str());
    }
    return kOk;
  }

 private:
  Checkpoint load() const {
    if (placement_.precision != "stored") return load_checkpoint(checkpoint_, placement_.place());
    Checkpoint checkpoint = load_checkpoint(checkpoint_, {DType::f32, placement_.where()});
    const SafetensorsFile file = SafetensorsFile::open(checkpoint.folder / "model.safetensors");
    if (file.entry(file.names().front()).dtype != DType::f64) return checkpoint;
    return load_checkpoint(checkpoint.folder, {DType::f64, placement_.where()});
  }

  ModelOptions text_;
  PlacementOptions placement_{.precision = "stored"};
  std::string checkpoint_, split_ = "valid";
  std::int64_t batch_ = kEvalBatch, threads_ = 0;
  bool json_ = false;
};

}  // namespace

std::unique_ptr<Verb> make_eval() { return std::make_unique<Eval>(); }

}  // namespace mixgrad::app
