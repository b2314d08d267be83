// Every operator against its oracle, in three dtypes; its errors; the same bits whatever the number of threads.
// The gradients are in op_gradient_test.cpp.
#include <doctest/doctest.h>

#include <string>
#include <thread>

#include "autograd/tape.h"
#include "core/error.h"
#include "ops/cases/cases.h"
#include "ops/elementwise/elementwise.h"
#include "tests/support/close.h"
#include "tests/support/op_support.h"

namespace mixgrad::test {
namespace {

double forward_tolerance(DType dtype) {
  switch (dtype) {
    case DType::f64: return 1e-12;
    case DType::f32: return 2e-5;
    case DType::bf16: return 3e-2;
    case DType::i32: break;
  }
  return 0;
}

void check_forward(OpId id, DType dtype) {
  for (const OpCase& c : cases_of(id).cases) {
    const std::string note = c.note;
    const std::string type = dtype_name(dtype);
    CAPTURE(note);
    CAPTURE(type);
    const std::vector<Tensor> got = on_host(c.run(on_device(inputs_as(c, dtype))));
    const std::vector<Tensor> want = c.oracle(rounded_inputs(c, dtype));
    REQUIRE(got.size() == want.size());
    for (std::size_t k = 0; k < got.size(); ++k) {
      CAPTURE(k);
      const std::string difference = not_close(got[k], want[k], forward_tolerance(dtype));
      CHECK(difference == kNothing);
      const bool precise = (c.precise_outputs >> k & 1U) != 0;
      const std::string output_type = dtype_name(got[k].dtype());
      CHECK(output_type == std::string(dtype_name(precise && dtype == DType::bf16 ? DType::f32 : dtype)));
    }
  }
}

void check_errors(OpId id) {
  for (const ErrorCase& e : cases_of(id).errors) {
    const std::string note = e.note;
    CAPTURE(note);
    const std::string text = error_text<Error>(e.call);
    CHECK(text == e.message);
  }
}

bool equal_bits(const std::vector<Tensor>& a, const std::vector<Tensor>& b) {
  if (a.size() != b.size()) return false;
  for (std::size_t i = 0; i < a.size(); ++i) {
    if (!a[i].equal_bits(b[i])) return false;
  }
  return true;
}

void check_same_bits(OpId id) {
  for (const OpCase& c : cases_of(id).cases) {
    for (const DType dtype : {DType::f64, DType::f32, DType::bf16}) {
      const std::string note = c.note;
      const std::string type = dtype_name(dtype);
      CAPTURE(note);
      CAPTURE(type);
      if (dtype == DType::bf16 && !roles_are_clear(id, c)) continue;
      const Function run = of_intermediates(c.run, parameters(id));
      const OneThread one_thread;
      const Results first = run_with_gradients(run, inputs_as(c, dtype));
      for (const int count : {1, 2, 3}) {
        CAPTURE(count);
        const Threads used(count);
        const Results again = run_with_gradients(run, inputs_as(c, dtype));
        CHECK(equal_bits(again.outputs, first.outputs));
        CHECK(equal_bits(again.gradients, first.gradients));
      }
    }
  }
}

void check_recording(OpId id) {
  for (const OpCase& c : cases_of(id).cases) {
    const std::string note = c.note;
    CAPTURE(note);
    const std::vector<Tensor> given = on_device(c.inputs);
    for (const Tensor& output : c.run(given)) CHECK(output.track().slot == Track::kNone);
    Tape tape;
    for (const Tensor& output : c.run(given)) CHECK(!tracked(output));
    CHECK(tape.entries() == 0);
    for (std::size_t i = 0; i < given.size(); ++i) {
      if (!takes_gradient(given[i])) continue;
      CAPTURE(i);
      std::vector<Tensor> inputs = given;
      Tensor leaf = given[i].clone();
      tape.watch(leaf);
      inputs[i] = leaf.clone();  // severed: its gradient would be lost
      CHECK_THROWS_AS(c.run(inputs), GradError);
      inputs[i] = leaf.detach();  // on purpose
      CHECK_NOTHROW(c.run(inputs));
    }
    CHECK(tape.entries() == 0);
  }
}

constexpr const char* kFile = __FILE__;

void check_forward_in_all_dtypes(OpId id) {
  for (const DType dtype : {DType::f64, DType::f32, DType::bf16}) check_forward(id, dtype);
}

#define OP(name, folder)                                                                                             \
  [[maybe_unused]] const int name##_tests[] = {                                                                      \
      register_test(kFile, __LINE__, #name ": forward is the oracle in f64, f32 and bf16",                           \
                    [] { check_forward_in_all_dtypes(OpId::name); }),                                                \
      register_test(kFile, __LINE__, #name ": every error has the promised text", [] { check_errors(OpId::name); }), \
      register_test(kFile, __LINE__, #name ": the same bits again, and for 1, 2 and 3 threads",                      \
                    [] { check_same_bits(OpId::name); }),                                                            \
      register_test(kFile, __LINE__, #name ": nothing is recorded without need, and a severed view throws",          \
                    [] { check_recording(OpId::name); }),                                                            \
  };
#include "ops/op_list.def"
#undef OP

}  // namespace

TEST_CASE("all operators: the cases are many, distinct and reproducible") {
  for (const NamedCases& op : all_cases()) {
    const std::string name = op_spec(op.id).name;
    CAPTURE(name);
    const OpCases once = op.make();
    const OpCases again = op.make();
    CHECK(once.cases.size() >= 5);
    CHECK(once.errors.size() >= 2);
    REQUIRE(once.cases.size() == again.cases.size());
    for (std::size_t i = 0; i < once.cases.size(); ++i) {
      CHECK(equal_bits(once.cases[i].oracle(once.cases[i].inputs), again.cases[i].oracle(again.cases[i].inputs)));
      for (std::size_t j = 0; j < i; ++j) CHECK(once.cases[i].note != once.cases[j].note);
    }
  }
}

// A thread starts with denormals on. Whether it computes all by itself or with others must not show.
TEST_CASE("silu: denormal results do not depend on the number of threads") {
  std::vector<Tensor> results;
  for (const int count : {1, 2}) {
    std::thread fresh([&] {
      const Threads used(count);
      results.push_back(silu(Tensor::full({100, 1000}, DType::f32, 1e-39)));
    });
    fresh.join();
  }
  CHECK(results[0].equal_bits(results[1]));
}

}  // namespace mixgrad::test
