#include "nn/mixers/laws/mixer_laws.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <span>
#include <sstream>

#include "autograd/gradcheck.h"
#include "autograd/tape.h"
#include "core/allocator.h"
#include "core/rng.h"
#include "nn/config/layer_kinds.h"
#include "nn/mixers/laws/law_tensors.h"
#include "nn/mixers/mixer_kinds.h"

namespace mixgrad {
namespace {

using Sizes = std::vector<std::int64_t>;

template <class... Parts>
std::string joined_text(const Parts&... parts) {
  std::ostringstream text;
  (text << ... << parts);
  return text.str();
}

std::string form_name(const LayerForm& form) {
  return to_text(form.layer) + (form.positions == Positions::rope ? " rope" : "");
}

}  // namespace

LawMixer::LawMixer(const LayerForm& form, Placement placement, std::int64_t width, std::int64_t context) {
  ModelConfig config;
  config.d_model = width;
  config.context = context;
  config.positions = form.positions;
  mixer = make_mixer(form.layer, {parameters, "m", config, 0.02});
  parameters.allocate(placement.dtype, placement.device);
  fill_law_parameters(parameters, 5);
}

LawSubject law_subject(const LayerForm& form, Placement placement, std::int64_t context) {
  const auto own = std::make_shared<LawMixer>(form, placement, kLawWidth, context);
  LawSubject subject;
  subject.name = form_name(form) + " " + dtype_name(placement.dtype);
  subject.mixer = std::shared_ptr<Mixer>(own, own->mixer.get());
  subject.dtype = placement.dtype;
  subject.device = placement.device;
  subject.context = context;
  subject.input = [placement](std::int64_t batch, std::int64_t steps, std::uint64_t seed) {
    return law_numbers({batch, steps, kLawWidth}, placement.dtype, seed).to(placement.device);
  };
  subject.loud_after = [](const Tensor& x, std::int64_t t) {
    const Tensor loud = x.to(kCpu).clone();
    for (std::int64_t i = 0; i < x.numel(); ++i) {
      if (i / x.dim(2) % x.dim(1) > t) loud.set(i, i % 3 == 0 ? 1e30 : -1e30);
    }
    return loud.to(x.device());
  };
  return subject;
}

std::string not_causal(const LawSubject& s, std::int64_t steps) {
  const Tensor x = s.input(2, steps, 1);
  const Tensor y = s.mixer->forward(x);
  for (const double v : y.to(kCpu).to_vector()) {
    if (!std::isfinite(v)) return "the outputs are not finite";
  }
  for (std::int64_t t = 0; t + 1 < steps; ++t) {
    const Tensor other = s.mixer->forward(s.loud_after(x, t));
    if (time_slice(other, 0, t + 1).equal_bits(time_slice(y, 0, t + 1))) continue;
    return joined_text("inputs behind time ", t, " of ", steps, " change outputs up to it");
  }
  return {};
}

std::string gradient_not_causal(const LawSubject& s, std::int64_t steps) {
  for (std::int64_t t = 0; t < steps; ++t) {
    Tape tape;
    Tensor x = s.input(2, steps, 1);
    tape.watch(x);
    const Tensor y = s.mixer->forward(x);
    const Tensor cotangent = law_numbers(y.shape(), y.dtype(), 8);
    for (std::int64_t i = 0; i < cotangent.numel(); ++i) {
      if (i / y.dim(2) % steps != t) cotangent.set(i, 0);
    }
    const std::vector<Shape> shapes = tape.leaf_shapes();
    Gradients gradients(shapes, accumulation_dtype(s.dtype), y.device());
    const Tape::Seed seed{y, cotangent.to(y.device())};
    std::move(tape).backward(std::span(&seed, 1), gradients);
    const Tensor dx = gradients.of(0).to(kCpu);
    if (largest_value(time_slice(dx, t, t + 1)) == 0) {
      return joined_text("no gradient from output to input at time ", t);
    }
    if (t + 1 == steps) continue;
    const double largest = largest_value(time_slice(dx, t + 1, steps));
    if (largest != 0) {
      return joined_text("the gradient of output ", t, " of ", steps, " to later inputs is up to ", largest);
    }
  }
  return {};
}

std::string pieces_differ(const LawSubject& s, std::int64_t steps) {
  const Tensor x = s.input(2, steps, 2);
  const Tensor y = s.mixer->forward(x);
  for (std::int64_t k = 1; k <= steps; ++k) {
    for (const std::int64_t piece : {1, 3}) {
      if (piece > 1 && steps - k < 2) continue;
      const auto state = s.new_state(2, steps);
      const std::string text = differs(in_pieces(*s.mixer, x, *state, {k, piece}), y, s.device);
      if (!text.empty()) {
        return joined_text("T = ", steps, ", first ", k, " tokens, then pieces of ", piece, ": ", text);
      }
      if (state->position() != steps) {
        return joined_text("position() is ", state->position(), " after ", steps, " tokens");
      }
    }
  }
  return {};
}

std::string long_memory_differs(const LawSubject& s, std::int64_t steps, const Sizes& sizes) {
  const Tensor x = s.input(1, steps, 2);
  const Tensor want = s.mixer->windowed(x, s.context);
  const auto state = s.new_state(1, s.context);
  const std::string text = differs(in_pieces(*s.mixer, x, *state, sizes), want, s.device);
  return text.empty() ? "" : joined_text("over ", steps, " tokens: ", text);
}

std::string rows_depend(const LawSubject& s, std::int64_t steps) {
  const Sizes order{2, 0, 3, 1};
  const Tensor x = s.input(4, steps, 3);
  const auto check = [&](const std::string& what, const auto& run) -> std::string {
    const Tensor y = run(x);
    const auto same = [&](const Tensor& got, const Tensor& want) {
      return s.device.is_cuda() ? differs(got, want, s.device).empty() : got.equal_bits(want);
    };
    if (!same(run(pick_sequences(x, order)), pick_sequences(y, order))) {
      return what + ": depends on the order in the batch";
    }
    for (std::int64_t b = 0; b < 4; ++b) {
      if (same(run(pick_sequences(x, {b})), pick_sequences(y, {b}))) continue;
      return joined_text(what, ": sequence ", b, " alone gives something else");
    }
    return {};
  };
  const std::string text = check("forward", [&](const Tensor& in) { return s.mixer->forward(in); });
  if (!text.empty()) return text;
  return check("prefill", [&](const Tensor& in) {
    return in_pieces(*s.mixer, in, *s.new_state(in.dim(0), steps), {(steps + 1) / 2, 1});
  });
}

std::string state_size_differs(const LawSubject& s, std::int64_t batch) {
  const std::size_t before = pool_stats(s.device).in_use;
  const auto state = s.new_state(batch, s.context);
  const std::size_t taken = pool_stats(s.device).in_use - before;
  const std::size_t documented = static_cast<std::size_t>(batch) * s.mixer->state_bytes(s.context, s.dtype);
  if (state->bytes() != documented) {
    return joined_text("bytes() is ", state->bytes(), ", state_bytes() x batch is ", documented);
  }
  // The pool rounds each tensor up, and may give a block that is a quarter larger.
  const bool plausible = taken >= documented && taken <= (documented + 8 * 512) * 5 / 4;
  if (!plausible) return joined_text(documented, " bytes are documented, the pool gave ", taken);
  return {};
}

std::string state_grows(const LawSubject& s, std::int64_t steps) {
  const Tensor token = s.input(1, 1, 7);
  const auto state = s.new_state(1, s.context);
  const auto decode = [&](std::int64_t tokens) {
    for (std::int64_t i = 0; i < tokens; ++i) s.mixer->step(token, *state);
  };
  decode(std::min<std::int64_t>(100, steps));
  const std::size_t bytes = state->bytes();
  const PoolStats before = pool_stats(s.device);
  decode(std::max<std::int64_t>(0, steps - 100));
  const PoolStats after = pool_stats(s.device);
  if (state->bytes() != bytes) return joined_text("bytes() grows from ", bytes, " to ", state->bytes());
  if (after.in_use != before.in_use || after.cached != before.cached ||
      after.system_allocations != before.system_allocations) {
    return joined_text("the pool has ", after.in_use, " bytes in use and ", after.cached, " cached after ", steps,
                       " tokens; after 100 it had ", before.in_use, " and ", before.cached);
  }
  return {};
}

std::string states_depend(const LawSubject& s, std::int64_t first, std::int64_t then) {
  const Tensor head = s.input(2, first, 4);
  const Tensor tail = s.input(2, then, 5);
  const Tensor other = s.input(2, then, 6);
  const auto run = [&](const Tensor& x, MixerState& state) { return in_pieces(*s.mixer, x, state, {2, 1}); };
  const auto original = s.new_state(2, first + then);
  const Tensor begin = run(head, *original);
  const auto ahead = original->clone();
  const auto behind = original->clone();
  if (ahead->position() != first || ahead->bytes() != original->bytes()) return "a clone has another position or size";
  const Tensor want = run(tail, *ahead);
  const auto spare = ahead->clone();
  const Tensor more = run(other, *ahead);
  run(other, *original->clone());
  if (!run(tail, *original).equal_bits(want)) return "advancing a clone changes the original";
  if (!run(tail, *behind).equal_bits(want)) return "advancing the original changes a clone";
  original->reset();
  if (original->position() != 0) return joined_text("position() is ", original->position(), " after reset()");
  if (!run(head, *original).equal_bits(begin)) return "a state after reset() differs from a new one";
  if (!run(tail, *original).equal_bits(want)) return "a state after reset() differs from a new one, later";
  return run(other, *spare).equal_bits(more) ? "" : "resetting the original changes a clone";
}

std::vector<std::string> gradient_failures(const LayerKind& kind, Device device) {
  constexpr std::int64_t kWidth = 8;
  std::vector<std::string> failures;
  std::map<std::string, bool> has_effect;  // in some form, by parameter
  for (const LayerForm& form : kind.forms(3)) {
    LawMixer own(form, {DType::f64, device}, kWidth);
    std::vector<Tensor> inputs{law_numbers({2, 5, kWidth}, DType::f64, 1)};
    GradcheckOptions options;
    options.names = {"u"};
    options.device = device;
    for (std::size_t i = 0; i < own.parameters.size(); ++i) {
      inputs.push_back(own.parameters[i].value.to(kCpu).clone());
      options.names.push_back(own.parameters[i].name);
    }
    const auto run = [&](std::span<const Tensor> in) {
      for (std::size_t i = 0; i < own.parameters.size(); ++i) own.parameters[i].value = in[i + 1];
      return std::vector{own.mixer->forward(in[0])};
    };
    const GradcheckReport report = gradcheck(inputs, run, options);
    if (!report.pass) failures.push_back(form_name(form) + ": gradient: " + report.failures());
    for (const GradcheckRow& row : report.rows) {
      bool& effect = has_effect[row.input];
      effect = effect || !row.vacuous;
    }
  }
  for (const auto& [input, effect] : has_effect) {
    if (!effect) failures.push_back(kind.name + ": gradient: " + input + " has no effect in any form");
  }
  return failures;
}

std::vector<std::string> mixer_kind_failures(const LayerKind& kind, Device device) {
  std::vector<std::string> failures = gradient_failures(kind, device);
  const auto note = [&](const LawSubject& subject, const char* law, const std::string& text) {
    if (!text.empty()) failures.push_back(subject.name + ": " + law + ": " + text);
  };
  for (const DType dtype : {DType::f64, DType::f32, DType::bf16}) {
    for (const std::int64_t length : {1, 7, 17}) {
      for (const LayerForm& form : kind.forms(length)) {
        const LawSubject subject = law_subject(form, {dtype, device});
        note(subject, "causal", not_causal(subject, length));
        note(subject, "causal gradient", gradient_not_causal(subject, length));
        note(subject, "step = forward", pieces_differ(subject, length));
        note(subject, "rows independent", rows_depend(subject, length));
        note(subject, "state bytes", state_size_differs(subject, 3));
        note(subject, "clone and reset", states_depend(subject, 5, 6));
      }
    }
    for (const LayerForm& form : kind.forms(33)) {
      const LawSubject subject = law_subject(form, {dtype, device});
      note(subject, "long memory", long_memory_differs(subject, 2000, {700, 1, 64, 3}));
    }
  }
  return failures;
}

}  // namespace mixgrad
