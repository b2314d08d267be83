#include "nn/distributed/communicator.h"

#include <algorithm>
#include <cstring>
#include <numeric>
#include <string_view>

#include "core/build.h"
#include "nn/distributed/device_sums.h"
#include "nn/distributed/mpi_communicator.h"
#include "nn/distributed/tcp_communicator.h"

namespace mixgrad {
namespace {

constexpr std::size_t kMostNumbers = std::size_t{1} << 26U;  // of a bucket: the counts of MPI are of 32 bits

std::span<const std::byte> bytes_of(const Tensor& tensor) {
  return {static_cast<const std::byte*>(tensor.raw()),
          static_cast<std::size_t>(tensor.numel()) * dtype_bytes(tensor.dtype())};
}

// Adds the time of a scope.
class SumClock {
 public:
  explicit SumClock(double& seconds) : seconds_(seconds), start_(std::chrono::steady_clock::now()) {}
  ~SumClock() { seconds_ += std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count(); }
  SumClock(const SumClock&) = delete;
  SumClock& operator=(const SumClock&) = delete;

 private:
  double& seconds_;
  std::chrono::steady_clock::time_point start_;
};

// What is being waited for while the scope lasts. Of scopes within one another the outermost counts: a meeting is made
// of a gathering.
class DoingScope {
 public:
  DoingScope(std::string& doing, std::string_view what) : doing_(doing), outermost_(doing.empty()) {
    if (outermost_) doing_ = what;
  }
  ~DoingScope() {
    if (outermost_) doing_.clear();
  }
  DoingScope(const DoingScope&) = delete;
  DoingScope& operator=(const DoingScope&) = delete;

 private:
  std::string& doing_;
  bool outermost_;
};

std::int64_t bucket_numbers(const Tensor& values, std::size_t bytes) {
  return static_cast<std::int64_t>(std::clamp<std::size_t>(bytes / dtype_bytes(values.dtype()), 1, kMostNumbers));
}

void require_summable(const Tensor& values, const ReduceOptions& options) {
  const bool real = values.dtype() == DType::f32 || values.dtype() == DType::f64;
  const bool there = values.device().is_cpu() || options.order == ReduceOrder::any;
  if (!there || values.shape().rank() != 1 || !real) {
    raise<ShapeError>("sum over ranks: a tensor [n] of f32 or f64 is required, in rank order on the host; got ",
                      dtype_name(values.dtype()), " ", values.shape(), " on ", values.device().str());
  }
  const bool sends = options.dtype == DType::bf16 ? values.dtype() == DType::f32 : options.dtype != DType::i32;
  if (!sends) {
    raise<DTypeError>("sum over ranks: ", dtype_name(values.dtype()), " cannot be sent as ", dtype_name(options.dtype),
                      "; choose f32");
  }
}

void require_shares(const SharedTensor& shared, int ranks) {
  const DType dtype = shared.values.dtype();
  if (shared.values.shape().rank() != 1 || !is_float(dtype)) {
    raise<ShapeError>("shares of ranks: a tensor [n] of f32, f64 or bf16 is required; got ", dtype_name(dtype), " ",
                      shared.values.shape());
  }
  MIXGRAD_ASSERT(
      shared.begins.size() == static_cast<std::size_t>(ranks) + 1 && shared.begins.back() == shared.values.numel(),
      "a begin for each rank, and the end");
}

// Numbers [begin, end) of a tensor: in one piece for all ranks, or a piece for each owner.
std::vector<DeviceSums::Summand> summands(const Tensor& values, std::int64_t begin, std::int64_t end,
                                          std::span<const std::int64_t> owners) {
  std::vector<DeviceSums::Summand> pieces;
  DeviceSums::divide(values.slice(begin, end), begin, owners, pieces);
  return pieces;
}

// The one process of a job: a sum over the ranks is what it has.
class SingleProcess final : public Communicator {
 public:
  SingleProcess() : Communicator(0, 1) {}
  std::string transport() const override { return "none"; }
  bool leave(const std::string&) noexcept override { return false; }

 protected:
  void gather_bytes(std::span<const std::byte> own, std::span<std::byte> all, std::span<const std::int64_t>) override {
    std::copy(own.begin(), own.end(), all.begin());
  }
  void exchange_bytes(std::span<const std::byte> sent, std::span<const std::int64_t>, std::span<std::byte> received,
                      std::span<const std::int64_t>) override {
    std::copy(sent.begin(), sent.end(), received.begin());
  }
  void sum_any(const Tensor&) override {}
};

}  // namespace

void Communicator::sum(const Tensor& values, const ReduceOptions& options) {
  require_summable(values, options);
  if (alone()) return;
  const SumClock clock(seconds_);
  const DoingScope scope(doing_, "the sum of gradients");
  if (values.device().is_cuda()) return sum_on_device(values, options, {});
  const bool by_share = options.order == ReduceOrder::rank || options.dtype == DType::bf16;
  const std::int64_t step = bucket_numbers(values, options.bucket_bytes);
  for (std::int64_t begin = 0; begin < values.numel(); begin += step) {
    const std::int64_t end = std::min(begin + step, values.numel());
    const Tensor bucket = values.slice(begin, end);
    if (by_share) {
      sum_bucket(bucket, bucket, Into::write, options.dtype, division(begin, end, {}));
    } else {
      sum_any(bucket);
    }
  }
}

void Communicator::sum_at_owners(const SharedTensor& shared, const ReduceOptions& options) {
  const Tensor& values = shared.values;
  require_summable(values, options);
  require_shares(shared, size());
  if (alone()) return;
  const SumClock clock(seconds_);
  const DoingScope scope(doing_, "the sum of gradients");
  if (values.device().is_cuda()) return sum_on_device(values, options, shared.begins);
  const std::int64_t step = bucket_numbers(values, options.bucket_bytes);
  for (std::int64_t begin = 0; begin < values.numel(); begin += step) {
    const std::int64_t end = std::min(begin + step, values.numel());
    const Tensor bucket = values.slice(begin, end);
    sum_bucket(bucket, bucket, Into::write, options.dtype, division(begin, end, shared.begins));
  }
}

void Communicator::sum_on_device(const Tensor& values, const ReduceOptions& options,
                                 std::span<const std::int64_t> owners) {
  DeviceSums& sums = on_device(values.device());
  const std::int64_t step = bucket_numbers(values, options.bucket_bytes);
  sums.reserve(std::min(step, values.numel()), options.dtype);
  for (std::int64_t begin = 0; begin < values.numel(); begin += step) {
    sums.add_up(summands(values, begin, std::min(begin + step, values.numel()), owners), options.dtype);
  }
  sums.join();
  sums.wait(doing_);
}

void Communicator::sum_in_order(const Tensor& part, const Tensor& total, Into into, std::size_t bucket_bytes,
                                std::span<const std::int64_t> begins) {
  require_summable(part, {.order = ReduceOrder::rank});
  require_summable(total, {.order = ReduceOrder::rank});
  if (part.shape() != total.shape() || part.dtype() != total.dtype()) {
    raise<ShapeError>("sum over ranks: part and total must have the same shape and type; got ", part.shape(), " and ",
                      total.shape());
  }
  if (!begins.empty()) require_shares({part, begins}, size());
  const SumClock clock(seconds_);
  const DoingScope scope(doing_, "the sum of gradients");
  const std::int64_t step = bucket_numbers(part, bucket_bytes);
  for (std::int64_t begin = 0; begin < part.numel(); begin += step) {
    const std::int64_t end = std::min(begin + step, part.numel());
    sum_bucket(part.slice(begin, end), total.slice(begin, end), into, DType::f32, division(begin, end, begins));
  }
}

void Communicator::sum_in_rank_order(const Tensor& values) {
  sum_bucket(values, values, Into::write, DType::f32, division(0, values.numel(), {}));
}

// Of the numbers [begin, end) of a tensor; without owners each rank has about as many.
Communicator::Division Communicator::division(std::int64_t begin, std::int64_t end,
                                              std::span<const std::int64_t> owners) const {
  Division division{.begins = {}, .to_all = owners.empty()};
  for (int r = 0; r <= size(); ++r) {
    division.begins.push_back(owners.empty() ? (end - begin) * r / size()
                                             : std::clamp(owners[static_cast<std::size_t>(r)], begin, end) - begin);
  }
  return division;
}

void Communicator::sum_bucket(const Tensor& part, const Tensor& total, Into into, DType sent,
                              const Division& division) {
  if (part.dtype() == DType::f64) return sum_bucket_as<double, double>(part, total, into, division);
  if (sent == DType::bf16) return sum_bucket_as<float, bf16>(part, total, into, division);
  sum_bucket_as<float, float>(part, total, into, division);
}

// Each rank gets its share of every rank's numbers, adds them up in rank order, and sends the sums to all.
template <class T, class Sent>
void Communicator::sum_bucket_as(const Tensor& part, const Tensor& total, Into into, const Division& division) {
  const std::int64_t count = part.numel();
  const auto ranks = static_cast<std::size_t>(size());
  const auto self = static_cast<std::size_t>(rank());
  const std::int64_t begin = division.begins[self];
  const std::int64_t mine = division.begins[self + 1] - begin;
  constexpr std::int64_t kBytes = sizeof(Sent);
  std::vector<std::int64_t> shares;  // bytes
  for (std::size_t r = 0; r < ranks; ++r) shares.push_back((division.begins[r + 1] - division.begins[r]) * kBytes);
  const std::vector<std::int64_t> own(ranks, mine * kBytes);
  sent_.resize(static_cast<std::size_t>(count * kBytes));
  received_.resize(static_cast<std::size_t>(mine * kBytes) * ranks);
  auto* sent = reinterpret_cast<Sent*>(sent_.data());
  const auto* received = reinterpret_cast<const Sent*>(received_.data());
  const T* from = part.data<T>();
  T* to = total.data<T>();
  for (std::int64_t i = 0; i < count; ++i) sent[i] = Sent(from[i]);
  exchange_bytes(sent_, shares, received_, own);
  // The sums travel in the type of the numbers, unless that type was to be smaller.
  const bool rounded = !alone() && sizeof(Sent) < sizeof(T);
  for (std::int64_t i = 0; i < mine; ++i) {
    T value = into == Into::add ? to[begin + i] + T(received[i]) : T(received[i]);
    for (int r = 1; r < size(); ++r) value += T(received[static_cast<std::int64_t>(r) * mine + i]);
    to[begin + i] = rounded ? T(Sent(value)) : value;
  }
  if (alone() || !division.to_all) return;
  for (std::int64_t i = 0; i < mine; ++i) sent[begin + i] = Sent(to[begin + i]);
  const std::span<const std::byte> own_sums =
      std::span(sent_).subspan(static_cast<std::size_t>(begin * kBytes), static_cast<std::size_t>(mine * kBytes));
  if (!rounded) {
    gather_bytes(own_sums, {static_cast<std::byte*>(total.raw()), bytes_of(total).size()}, shares);
    return;
  }
  received_.resize(sent_.size());
  gather_bytes(own_sums, received_, shares);
  const auto* sums = reinterpret_cast<const Sent*>(received_.data());
  for (std::int64_t i = 0; i < count; ++i) to[i] = T(sums[i]);
}

void Communicator::gather_shares(std::initializer_list<SharedTensor> shared, std::string_view what,
                                 std::size_t bucket_bytes) {
  for (const SharedTensor& one : shared) require_shares(one, size());
  if (alone() || shared.size() == 0) return;
  const SumClock clock(seconds_);
  const DoingScope scope(doing_, what);
  const Device device = shared.begin()->values.device();
  if (device.is_cuda()) return on_device(device).gather_shares(std::span(shared.begin(), shared.size()));
  for (const SharedTensor& one : shared) {
    auto* all = static_cast<std::byte*>(one.values.raw());
    const std::size_t bytes = dtype_bytes(one.values.dtype());
    const auto begin = static_cast<std::size_t>(one.begins[static_cast<std::size_t>(rank())]);
    gather_in_pieces(all + begin * bytes, all, bytes, one.begins, bucket_bytes);
  }
}

void Communicator::gather_at_leader(const Tensor& own, const Tensor& whole, std::span<const std::int64_t> begins,
                                    std::size_t bucket_bytes) {
  const auto r = static_cast<std::size_t>(rank());
  MIXGRAD_ASSERT(own.device().is_cpu() && own.numel() == begins[r + 1] - begins[r], "the share of this rank");
  MIXGRAD_ASSERT(!leads() || (whole.dtype() == own.dtype() && whole.numel() == begins.back()), "room for all shares");
  const DoingScope scope(doing_, "the gathering of the optimizer's state");
  const std::size_t bytes = dtype_bytes(own.dtype());
  std::byte* all = leads() ? static_cast<std::byte*>(whole.raw()) : nullptr;
  if (all != nullptr && own.numel() > 0)
    std::memcpy(all + static_cast<std::size_t>(begins[r]) * bytes, own.raw(), own.bytes());
  if (!alone()) gather_in_pieces(static_cast<const std::byte*>(own.raw()), all, bytes, begins, bucket_bytes);
}

// `own`: the share of this rank; it has its place in `all` already. `all` null: what the others give is dropped.
void Communicator::gather_in_pieces(const std::byte* own, std::byte* all, std::size_t number_bytes,
                                    std::span<const std::int64_t> begins, std::size_t bucket_bytes) {
  const auto ranks = static_cast<std::size_t>(size());
  const auto bytes = static_cast<std::int64_t>(number_bytes);
  const auto step = std::max<std::int64_t>(static_cast<std::int64_t>(bucket_bytes / number_bytes / ranks), 1);
  std::int64_t longest = 0;
  for (std::size_t r = 0; r < ranks; ++r) longest = std::max(longest, begins[r + 1] - begins[r]);
  std::vector<std::int64_t> counts(ranks);
  for (std::int64_t done = 0; done < longest; done += step) {
    std::int64_t total = 0;
    for (std::size_t r = 0; r < ranks; ++r) {
      counts[r] = std::clamp<std::int64_t>(begins[r + 1] - begins[r] - done, 0, step) * bytes;
      total += counts[r];
    }
    const std::byte* from = own + done * bytes;
    sent_.assign(from, from + counts[static_cast<std::size_t>(rank())]);
    received_.resize(static_cast<std::size_t>(total));
    gather_bytes(sent_, received_, counts);
    const std::byte* given = received_.data();
    for (std::size_t r = 0; r < ranks; ++r) {
      const auto count = static_cast<std::size_t>(counts[r]);
      const bool needed = all != nullptr && static_cast<int>(r) != rank() && count > 0;
      if (needed) std::memcpy(all + (begins[r] + done) * bytes, given, count);
      given += count;
    }
  }
}

std::vector<double> Communicator::gather(std::span<const double> numbers) {
  std::vector<double> all(numbers.size() * static_cast<std::size_t>(size()));
  const std::vector<std::int64_t> counts(static_cast<std::size_t>(size()),
                                         static_cast<std::int64_t>(numbers.size_bytes()));
  const DoingScope scope(doing_, "numbers of each rank");
  gather_bytes(std::as_bytes(numbers), std::as_writable_bytes(std::span(all)), counts);
  return all;
}

std::vector<std::string> Communicator::gather(const std::string& text) {
  const DoingScope scope(doing_, "a text of each rank");
  const double own = static_cast<double>(text.size());
  std::vector<std::int64_t> counts;
  for (const double length : gather(std::span(&own, 1))) counts.push_back(static_cast<std::int64_t>(length));
  std::string all(static_cast<std::size_t>(std::accumulate(counts.begin(), counts.end(), std::int64_t{0})), ' ');
  gather_bytes(std::as_bytes(std::span(text)), std::as_writable_bytes(std::span(all)), counts);
  std::vector<std::string> texts;
  std::size_t at = 0;
  for (const std::int64_t count : counts) {
    texts.push_back(all.substr(at, static_cast<std::size_t>(count)));
    at += static_cast<std::size_t>(count);
  }
  return texts;
}

std::string Communicator::from_leader(const std::string& text) { return gather(leads() ? text : std::string())[0]; }

int Communicator::largest(int number) {
  if (alone()) return number;
  const double own = number;
  const std::vector<double> all = gather(std::span(&own, 1));
  return static_cast<int>(*std::max_element(all.begin(), all.end()));
}

void Communicator::meet(const std::string& where) {
  if (alone()) return;
  const DoingScope scope(doing_, where);
  const double here = 0;
  gather(std::span(&here, 1));
}

Communicator::Communicator(int rank, int size) : rank_(rank), size_(size) {}
Communicator::~Communicator() = default;

DeviceSums& Communicator::on_device(Device device) {
  if (!device_sums_) device_sums_ = join_devices(*this, device);
  if (device_sums_->device() != device) {
    raise<DeviceError>("sum over ranks: this rank joined with the device ", device_sums_->device().str(), "; got ",
                       device.str(), "; each rank has one");
  }
  return *device_sums_;
}

void Communicator::use_device_sums(std::unique_ptr<DeviceSums> sums) { device_sums_ = std::move(sums); }

void Communicator::abandon_devices() noexcept {
  if (device_sums_) device_sums_->abandon();
}

void Communicator::report_missing(const std::string& where) {
  raise<RankLost>("rank ", rank_, " of ", size_, ": ", where, " has no end");
}

std::unique_ptr<Communicator> make_single_process() { return std::make_unique<SingleProcess>(); }

std::unique_ptr<Communicator> join_job(const Launch& launch, const JoinOptions& options) {
  if (launch.size == 1) return make_single_process();
  if (transport_of(launch, build::has_mpi) == Transport::mpi) return join_mpi(launch, options);
  return join_tcp(launch, options);
}

}  // namespace mixgrad
