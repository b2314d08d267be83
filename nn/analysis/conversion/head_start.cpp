#include "nn/analysis/conversion/head_start.h"

#include <Eigen/Dense>
#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "core/system/interrupt.h"
#include "nn/config/kinds/mixed_heads.h"
#include "nn/modules/finite_values.h"

namespace mixgrad {

template <>
const std::vector<std::string>& enum_names<HeadStart>() {
  static const std::vector<std::string> names{"default", "from-attention", "zero-out"};
  return names;
}

namespace {

using Matrix = Eigen::MatrixXd;
using Vector = Eigen::VectorXd;

constexpr double kInputScale = 1.0;  // root mean square of the inner channels' inputs
constexpr double kGate = 2.0;        // mean of the gates' inputs
constexpr double kRidge = 1e-4;      // of the mean square of the regressors

double silu(double x) { return x / (1 + std::exp(-x)); }

// argmin |x p - y|^2 + ridge |p|^2, for each column of y.
Matrix least_squares(const Matrix& x, const Matrix& y) {
  Matrix normal = x.transpose() * x;
  const double mean = normal.trace() / static_cast<double>(normal.rows());
  normal.diagonal().array() += kRidge * mean + 1e-300;
  return normal.ldlt().solve(x.transpose() * y);
}

// The weights p with x p near 1 at every row, scaled so that the mean of x p is `mean`.
Vector constant_of(const Matrix& x, double mean) {
  const Vector weights = least_squares(x, Matrix::Ones(x.rows(), 1)).col(0);
  const double reached = (x * weights).mean();
  return std::abs(reached) < 1e-6 ? Vector(Vector::Zero(x.cols())) : Vector(weights * (mean / reached));
}

// What a layer of `from` computes on the sample.
struct LayerSample {
  Matrix u;        // [tokens, D]
  Matrix outputs;  // [tokens, Hs dh], of the softmax heads before o
};

void append_rows(Matrix& to, std::int64_t first, const Tensor& from) {
  const Tensor values = from.to(kCpu);
  const std::int64_t columns = values.cols();
  for (std::int64_t i = 0; i < values.numel(); ++i) to(first + i / columns, i % columns) = values.at(i);
}

LayerSample sample_layer(const Decoder& from, std::size_t layer, const SampledSequences& sample) {
  LayerSample result;
  std::int64_t first = 0;
  for (const SampledSequences::Batch& batch : sample.batches) {
    check_interrupt();
    from.visit(batch.tokens, [&](std::size_t l, const Mixer& mixer, const LayerInput& input) {
      if (l != layer) return;
      const Tensor outputs = mixer.softmax_outputs(input);
      const std::int64_t tokens = sample.count * sample.length;
      if (first == 0) {
        result.u = Matrix(tokens, input.u().cols());
        result.outputs = Matrix(tokens, outputs.cols());
      }
      append_rows(result.u, first, input.u());
      append_rows(result.outputs, first, outputs);
      first += batch.tokens.numel();
    });
  }
  if (!result.outputs.allFinite()) {
    raise_not_finite("conversion", "the attention", result.outputs.sum(), from.parameters());
  }
  return result;
}

// v of a head and its bias: the rows of its group.
struct ValueRows {
  Matrix weight;  // [dh, D]
  Vector bias;    // [dh], zero where there is none
};

ValueRows value_rows(const Decoder& from, const ReplacedHead& head) {
  const QkvRows rows = qkv_rows(from.config(), head.group.layer);
  const std::int64_t begin = rows.value(head.value);
  const std::string prefix = mixer_prefix(head.group.layer) + "qkv.";
  const Tensor weight = from.parameters().at(prefix + "weight").master.to(kCpu);
  ValueRows result{Matrix(rows.head_dim, weight.dim(1)), Vector::Zero(rows.head_dim)};
  for (std::int64_t i = 0; i < rows.head_dim; ++i) {
    for (std::int64_t c = 0; c < weight.dim(1); ++c) result.weight(i, c) = weight.at((begin + i) * weight.dim(1) + c);
  }
  const Parameter* bias = from.parameters().find(prefix + "bias");
  for (std::int64_t i = 0; bias != nullptr && i < rows.head_dim; ++i) {
    result.bias[i] = bias->master.to(kCpu).at(begin + i);
  }
  return result;
}

// Columns of x, each token `lag` tokens later; zeros before the start of each sequence.
Matrix shifted(const Matrix& x, std::int64_t lag, std::int64_t length) {
  Matrix y = Matrix::Zero(x.rows(), x.cols());
  for (std::int64_t t = 0; t < x.rows(); ++t) {
    if (t % length >= lag) y.row(t) = x.row(t - lag);
  }
  return y;
}

// For each column of v [tokens, dh] the taps [dh, taps] with which its last values come nearest to that column of the
// target; the newest is last.
Matrix fitted_taps(const Matrix& v, const Matrix& target, std::int64_t taps, std::int64_t length) {
  std::vector<Matrix> lags;
  for (std::int64_t lag = 0; lag < taps; ++lag) lags.push_back(shifted(v, lag, length));
  Matrix result(v.cols(), taps);
  Matrix columns(v.rows(), taps);
  for (std::int64_t c = 0; c < v.cols(); ++c) {
    for (std::int64_t w = 0; w < taps; ++w) columns.col(w) = lags[static_cast<std::size_t>(taps - 1 - w)].col(c);
    result.row(c) = least_squares(columns, target.col(c)).col(0).transpose();
  }
  return result;
}

// A memory that forgets: y_t = x_t + weight_t sum_n c_n h_t[n], whose state is
// h_t[n] = exp(-Delta (n + 1)) h_{t-1}[n] + Delta weight_t x_t.
struct Memory {
  double step = 0.1;  // Delta
  Vector states;      // c_n
};

// f(t, h_t) for every token, sequence by sequence; h is [states, columns of x].
template <class F>
void for_each_state(const Matrix& x, const Vector& weight, double step, std::int64_t states, std::int64_t length,
                    const F& f) {
  Matrix h(states, x.cols());
  Vector decay(states);
  for (std::int64_t n = 0; n < states; ++n) decay[n] = std::exp(-step * static_cast<double>(n + 1));
  for (std::int64_t t = 0; t < x.rows(); ++t) {
    if (t % length == 0) h.setZero();
    h = decay.asDiagonal() * h;
    h.rowwise() += step * weight[t] * x.row(t);
    f(t, h);
  }
}

Matrix remembered(const Matrix& x, const Vector& weight, const Memory& memory, std::int64_t length) {
  Matrix y = x;
  for_each_state(x, weight, memory.step, memory.states.size(), length,
                 [&](std::int64_t t, const Matrix& h) { y.row(t) += weight[t] * (memory.states.transpose() * h); });
  return y;
}

// The memory of x whose y comes nearest to the target: over a few steps, and by least squares in c_n. The same c_n
// serve all columns, so the normal equations have one row for each state.
Memory fitted_memory(const Matrix& x, const Vector& weight, const Matrix& target, std::int64_t states,
                     std::int64_t length) {
  const Matrix rest = target - x;
  Memory best{.states = Vector::Zero(states)};
  double most = 0;
  for (double step = 0.5; step > 0.4 / static_cast<double>(length); step /= 2) {
    Matrix normal = Matrix::Zero(states, states);
    Vector right = Vector::Zero(states);
    for_each_state(x, weight, step, states, length, [&](std::int64_t t, const Matrix& h) {
      normal.noalias() += weight[t] * weight[t] * (h * h.transpose());
      right.noalias() += weight[t] * (h * rest.row(t).transpose());
    });
    normal.diagonal().array() += 1e-3 * normal.trace() / static_cast<double>(states) + 1e-300;
    const Vector weights = normal.ldlt().solve(right);
    const double gain = weights.dot(right);  // what the error becomes smaller by
    if (gain <= most) continue;
    most = gain;
    best = {step, weights};
  }
  return best;
}

double explained(const Matrix& error, const Matrix& target) {
  const double all = target.squaredNorm();
  return all == 0 ? 1 : 1 - error.squaredNorm() / all;
}

// Writes `values` [rows, columns] into x [R,rows,columns] at head r, from row `first` on.
void write_rows(const Tensor& x, std::int64_t r, std::int64_t first, const Matrix& values) {
  const std::int64_t columns = x.shape().rank() == 2 ? 1 : x.cols();
  const std::int64_t all = x.numel() / x.dim(0);
  for (std::int64_t i = 0; i < values.rows(); ++i) {
    for (std::int64_t c = 0; c < values.cols(); ++c) x.set(r * all + (first + i) * columns + c, values(i, c));
  }
}

// One Mamba head, in the steps of docs/recurformer.md.
double start_mamba_head(const Decoder& from, Decoder& to, const ReplacedHead& head, const LayerSample& sample,
                        std::int64_t length) {
  const auto& layer = to.config().layers[static_cast<std::size_t>(head.group.layer)].get<MixedHeadsConfig>();
  const ValueRows v = value_rows(from, head);
  const auto dh = v.bias.size();
  const std::int64_t inner = layer.expand * dh;
  const Matrix target = sample.outputs.middleCols(head.softmax * dh, dh);
  const Matrix projected = sample.u * v.weight.transpose();  // v without its bias, which the convolution adds
  const Matrix own_taps = fitted_taps(projected.rowwise() + v.bias.transpose(), target, layer.d_conv, length);
  Matrix filtered = Matrix::Zero(projected.rows(), dh);
  for (std::int64_t w = 0; w < layer.d_conv; ++w) {
    filtered += shifted(projected, layer.d_conv - 1 - w, length) * own_taps.col(w).asDiagonal();
  }
  const Vector shift = own_taps.rowwise().sum().cwiseProduct(v.bias);
  filtered.rowwise() += shift.transpose();
  const double size = std::sqrt(filtered.squaredNorm() / static_cast<double>(filtered.size()));
  const double scale = kInputScale / std::max(1e-12, size);
  Matrix x_rows(inner, v.weight.cols());
  Matrix taps(inner, layer.d_conv);
  Vector bias(inner);
  Matrix xc(projected.rows(), inner);
  for (std::int64_t c = 0; c < inner; ++c) {
    const double signed_scale = c / dh % 2 == 0 ? scale : -scale;
    x_rows.row(c) = signed_scale * v.weight.row(c % dh);
    taps.row(c) = own_taps.row(c % dh);
    bias[c] = signed_scale * shift[c % dh];
    xc.col(c) = (signed_scale * filtered.col(c % dh)).unaryExpr(&silu);
  }
  const Vector gate = constant_of(sample.u, kGate);
  const Vector one = constant_of(xc, 1);
  const Memory memory = fitted_memory(filtered, xc * one, target, layer.d_state, length);
  Matrix features = remembered(xc, xc * one, memory, length);
  const Vector gates = (sample.u * gate).unaryExpr(&silu);
  features = gates.asDiagonal() * features;
  const Matrix out = least_squares(features, target);

  const auto parameter = [&](const char* name) {
    return to.parameters().at(mixer_prefix(head.group.layer) + "mamba." + name).master;
  };
  const std::int64_t r = head.index;
  write_rows(parameter("in_proj.weight"), r, 0, x_rows);
  write_rows(parameter("in_proj.weight"), r, inner, gate.transpose().replicate(inner, 1));
  write_rows(parameter("conv.weight"), r, 0, taps);
  write_rows(parameter("conv.bias"), r, 0, bias);
  write_rows(parameter("x_proj.weight"), r, layer.dt_rank, one.transpose().replicate(layer.d_state, 1));
  write_rows(parameter("x_proj.weight"), r, layer.dt_rank + layer.d_state, memory.states * one.transpose());
  write_rows(parameter("dt_proj.weight"), r, 0, Matrix::Zero(inner, layer.dt_rank));
  write_rows(parameter("dt_proj.bias"), r, 0, Matrix::Constant(inner, 1, std::log(std::expm1(memory.step))));
  write_rows(parameter("D"), r, 0, Matrix::Ones(inner, 1));
  write_rows(parameter("out_proj.weight"), r, 0, out.transpose());
  return explained(features * out - target, target);
}

// v is the attention head's; a and b by least squares.
double start_shift_head(const Decoder& from, Decoder& to, const ReplacedHead& head, const LayerSample& sample,
                        std::int64_t length) {
  const auto& layer = to.config().layers[static_cast<std::size_t>(head.group.layer)].get<MixedHeadsConfig>();
  const ValueRows v = value_rows(from, head);
  const auto dh = v.bias.size();
  const Matrix values = (sample.u * v.weight.transpose()).rowwise() + v.bias.transpose();
  const std::int64_t shift = layer.shifts[static_cast<std::size_t>(head.index)];
  Matrix both = Matrix::Zero(values.size(), 2);
  const Matrix target = sample.outputs.middleCols(head.softmax * dh, dh);
  Matrix wanted(values.size(), 1);
  for (std::int64_t t = 0; t < values.rows(); ++t) {
    for (std::int64_t c = 0; c < dh; ++c) {
      both(t * dh + c, 0) = values(t, c);
      if (t % length >= shift) both(t * dh + c, 1) = values(t - shift, c);
      wanted(t * dh + c, 0) = target(t, c);
    }
  }
  const Matrix weights = least_squares(both, wanted);
  const std::string prefix = mixer_prefix(head.group.layer) + "shift.";
  const Tensor& weight = to.parameters().at(prefix + "v.weight").master;
  for (std::int64_t i = 0; i < dh; ++i) {
    for (std::int64_t c = 0; c < v.weight.cols(); ++c) {
      weight.set((head.index * dh + i) * weight.cols() + c, v.weight(i, c));
    }
  }
  if (const Parameter* bias = to.parameters().find(prefix + "v.bias")) {
    for (std::int64_t i = 0; i < dh; ++i) bias->master.set(head.index * dh + i, v.bias[i]);
  }
  to.parameters().at(prefix + "a").master.set(head.index, weights(0, 0));
  to.parameters().at(prefix + "b").master.set(head.index, weights(1, 0));
  return explained(both * weights - wanted, wanted);
}

}  // namespace

void start_at_zero(Decoder& to, const std::vector<ReplacedHead>& heads, HeadTarget kind) {
  for (const ReplacedHead& head : heads) {
    const std::string prefix = mixer_prefix(head.group.layer);
    if (kind == HeadTarget::recurformer) {
      to.parameters().at(prefix + "mamba.out_proj.weight").master.slice(head.index, head.index + 1).fill(0);
    } else {
      for (const char* name : {"shift.a", "shift.b"}) {
        to.parameters().at(prefix + name).master.slice(head.index, head.index + 1).fill(0);
      }
    }
  }
  to.parameters().refresh();
}

std::vector<double> start_from_attention(const Decoder& from, Decoder& to, const std::vector<ReplacedHead>& heads,
                                         HeadTarget kind, const SampledSequences& sample) {
  std::vector<double> shares;
  for (std::size_t first = 0; first < heads.size();) {  // layer by layer: only one is held in memory
    const auto layer = static_cast<std::size_t>(heads[first].group.layer);
    const LayerSample of_layer = sample_layer(from, layer, sample);
    for (; first < heads.size() && static_cast<std::size_t>(heads[first].group.layer) == layer; ++first) {
      check_interrupt();
      const ReplacedHead& head = heads[first];
      shares.push_back(kind == HeadTarget::recurformer ? start_mamba_head(from, to, head, of_layer, sample.length)
                                                       : start_shift_head(from, to, head, of_layer, sample.length));
    }
  }
  to.parameters().refresh();
  return shares;
}

}  // namespace mixgrad
