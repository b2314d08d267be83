// Parameters of a model: one flat buffer, in the order in which the modules asked for them.
//
// A module asks for its parameters in its constructor and keeps the handles; when the model is complete, allocate()
// lays them out. The gradients (autograd/gradients.h) and the optimizer's moments have the same layout.
#pragma once

#include <cstdint>
#include <deque>
#include <string>
#include <string_view>
#include <vector>

#include "autograd/gradients.h"
#include "autograd/tape.h"
#include "core/tensor.h"

namespace mixgrad {

// How a parameter starts.
struct Init {
  enum class Kind : std::uint8_t { normal, constant, uniform, log_count, step_bias };
  Kind kind = Kind::constant;
  double value = 0;  // standard deviation, constant or bound

  static Init normal(double deviation) { return {Kind::normal, deviation}; }
  static Init constant(double value) { return {Kind::constant, value}; }
  static Init uniform(double bound) { return {Kind::uniform, bound}; }  // in [-bound, bound)
  static Init log_count() { return {Kind::log_count}; }                 // log(n + 1), n the index in the last axis
  // x with softplus(x) log-uniform in [1e-3, 1e-1), at least 1e-4: a Mamba block's first step sizes
  static Init step_bias() { return {Kind::step_bias}; }
};

struct Parameter {
  std::string name;  // as in a checkpoint, spec of the model: "layers.0.mixer.qkv.weight"
  Shape shape;
  Init init;
  bool decay = true;         // weight decay applies
  bool trainable = true;     // a frozen parameter is not watched and not stepped
  bool kept_in_f32 = false;  // in a bf16 model: it enters no matrix product
  Tensor value;              // what the model computes with, after allocate(): a view of flat(), or of master() if kept
  Tensor master;             // what the optimizer changes and a checkpoint holds: a view of master()
  double lr_scale = 1;       // its learning rate is that of the schedule times this (nn/modules/lr_scale.h)
};

// Marks a parameter that a module has asked for.
inline Parameter* keep_in_f32(Parameter* parameter) {
  parameter->kept_in_f32 = true;
  return parameter;
}

class ParameterSet {
 public:
  ParameterSet() = default;
  ParameterSet(const ParameterSet&) = delete;  // modules hold pointers to the parameters
  ParameterSet& operator=(const ParameterSet&) = delete;

  // The handle stays valid. ValueError when the name is taken or allocate() was called.
  Parameter* add(const std::string& name, const Shape& shape, Init init, bool decay);

  // f64, f32 or bf16; contents zero. bf16 parameters have a master copy in f32, which the optimizer changes and from
  // which it writes the bf16 values (also those of parameters kept in f32, where nothing reads them); f64 and f32
  // parameters are their own master.
  void allocate(DType dtype, Device device = kCpu);
  // After the masters were written from elsewhere: the values become those of the masters.
  void refresh();
  void initialize(std::uint64_t seed);  // draws by (seed, parameter index): one's values do not depend on another's

  std::size_t size() const { return parameters_.size(); }
  Parameter& operator[](std::size_t i) { return parameters_[i]; }
  const Parameter& operator[](std::size_t i) const { return parameters_[i]; }
  // By name. find: null when there is none; at: ValueError then.
  Parameter* find(std::string_view name);
  const Parameter* find(std::string_view name) const;
  Parameter& at(std::string_view name);
  const Parameter& at(std::string_view name) const;
  std::int64_t count() const;  // numbers in all parameters
  DType dtype() const { return flat_.dtype(); }
  Device device() const { return flat_.device(); }
  const Tensor& flat() const { return flat_; }
  const Tensor& master() const { return master_; }  // flat() itself unless that is bf16

  // For a bf16 model whose update is divided over ranks (`--shard optimizer`): of the masters only numbers `begin` to
  // `end` of the flat buffer are kept, those that this process updates. Afterwards master() is [end - begin] and
  // Parameter::master is undefined. The values of the parameters kept in f32 then have memory of their own, kept(),
  // into which an optimizer copies their masters after each update.
  void divide_masters(std::int64_t begin, std::int64_t end);
  bool masters_divided() const { return kept_pieces_.defined(); }
  std::int64_t master_begin() const { return master_begin_; }  // the number of flat() that master() begins with
  const Tensor& kept() const { return kept_; }                 // [n] f32; the parameters have gaps between them
  // The first number of kept() that belongs to a number of flat() at `at` or behind it.
  std::int64_t kept_begin(std::int64_t at) const;
  // The pieces of kept() whose masters this process has: [pieces, 3] i32, begin in master() / 16, begin in kept() / 16,
  // and the number of elements.
  const Tensor& kept_pieces() const { return kept_pieces_; }
  // For a checkpoint of divided masters: `whole` [n] f32 on the host, of all ranks. Parameter::master is a view of it
  // until the next call; undefined ends that.
  void show_masters(const Tensor& whole);

  std::vector<Shape> shapes() const;
  Gradients new_gradients() const { return Gradients(shapes(), master_.dtype(), master_.device()); }
  void watch(Tape& tape);  // all trainable ones, leaf i = parameter i

 private:
  std::deque<Parameter> parameters_;
  Tensor flat_, master_;
  std::int64_t master_begin_ = 0;
  Tensor kept_, kept_pieces_;               // after divide_masters()
  std::vector<std::int64_t> kept_offsets_;  // in kept_, of each parameter; of one that is not kept in f32, of the next
};

}  // namespace mixgrad
