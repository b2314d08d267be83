// The laws of a communicator, to be run on any number of ranks: communicator_ranks CASE [FOLDER]
//   laws     every sum, in every type and order, in one bucket and in many, against plain loops; the same on each rank;
//            gather, from_leader, largest
//   meet     nothing but a meeting
//   device   sums on a CUDA device of each rank, in f32, f64 and bf16; several tensors in one piece; equal bits on all
//   silent   the last rank takes no part in a meeting: the others must name it and end with code 4
//   leaves   the last rank leaves with an error: the others must name it and its reason, and end with code 4
//   gone     the last rank ends without a word, as one that is killed; TCP: the others must name it and end with code 4
//   early    the last rank ends well before the others do; TCP: the others must name it and end with code 4
//   other    the last rank makes another call than the others; TCP: one must say so, and all end with code 4
// FOLDER: where ranks that TCP connects meet. Exit code 0: as it must be.
//
// And of one process: communicator_ranks listen PORT takes a port for 20 seconds, and answers nobody.
#include <unistd.h>

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <thread>

#include "nn/distributed/communicator.h"
#include "nn/distributed/device_sums.h"
#include "nn/distributed/tcp_sockets.h"

namespace {
using namespace mixgrad;

void require(bool holds, const char* what, const Communicator& ranks) {
  if (holds) return;
  std::fprintf(stderr, "rank %d of %d: wrong: %s\n", ranks.rank(), ranks.size(), what);
  std::exit(1);
}

// What rank r gives for element i: numbers whose sum depends on the order.
double number(int rank, std::int64_t i) {
  return std::sin(1.0 + 17.0 * rank + static_cast<double>(i)) * std::exp2(i % 30);
}

template <class T>
Tensor numbers(int rank, std::int64_t count, DType dtype) {
  Tensor tensor = Tensor::empty({count}, dtype);
  for (std::int64_t i = 0; i < count; ++i) tensor.data<T>()[i] = static_cast<T>(number(rank, i));
  return tensor;
}

template <class T>
void check_sums(Communicator& ranks, std::int64_t count, DType dtype, std::size_t bucket) {
  const int size = ranks.size();
  const Tensor any = numbers<T>(ranks.rank(), count, dtype);
  ranks.sum(any, {.bucket_bytes = bucket});
  const Tensor ordered = numbers<T>(ranks.rank(), count, dtype);
  ranks.sum(ordered, {.order = ReduceOrder::rank, .bucket_bytes = bucket});
  const Tensor part = numbers<T>(ranks.rank(), count, dtype);
  const Tensor total = numbers<T>(99, count, dtype);
  ranks.sum_in_order(part, total, Communicator::Into::add, bucket);
  const Tensor written = numbers<T>(98, count, dtype);
  ranks.sum_in_order(part, written, Communicator::Into::write, bucket);
  for (std::int64_t i = 0; i < count; ++i) {
    T sum = static_cast<T>(number(0, i));
    for (int r = 1; r < size; ++r) sum += static_cast<T>(number(r, i));
    T added = static_cast<T>(number(99, i));
    for (int r = 0; r < size; ++r) added += static_cast<T>(number(r, i));
    require(ranks.transport() != "TCP" || any.data<T>()[i] == sum, "TCP: any order is rank order", ranks);
    require(std::abs(any.data<T>()[i] - sum) <= 1e-6 * std::exp2(i % 30) * size, "the sum in any order", ranks);
    require(ordered.data<T>()[i] == sum, "the sum in rank order", ranks);
    require(written.data<T>()[i] == sum, "the written sum in rank order", ranks);
    require(total.data<T>()[i] == added, "the added sum in rank order", ranks);
  }
  // The same bits on each rank.
  double mixed = 0;
  for (std::int64_t i = 0; i < count; ++i) mixed += static_cast<double>(any.data<T>()[i]) * static_cast<double>(i + 1);
  for (const double other : ranks.gather(std::span(&mixed, 1)))
    require(other == mixed, "equal bits on each rank", ranks);
}

void check_bf16(Communicator& ranks, std::int64_t count, std::size_t bucket) {
  const Tensor values = numbers<float>(ranks.rank(), count, DType::f32);
  ranks.sum(values, {.dtype = DType::bf16, .bucket_bytes = bucket});
  for (std::int64_t i = 0; i < count && !ranks.alone(); ++i) {
    float sum = static_cast<float>(bf16(static_cast<float>(number(0, i))));
    for (int r = 1; r < ranks.size(); ++r) sum += static_cast<float>(bf16(static_cast<float>(number(r, i))));
    require(values.data<float>()[i] == static_cast<float>(bf16(sum)), "the sum of bf16 in f32", ranks);
  }
}

// The share of rank 1 is empty.
std::vector<std::int64_t> unequal_shares(const Communicator& ranks) {
  std::vector<std::int64_t> begins{0};
  for (int r = 0; r < ranks.size(); ++r) begins.push_back(begins.back() + (r == 1 ? 0 : 100 + r));
  return begins;
}

// Sums at their owners alone, of each kind. On a device of two ranks the order does not matter.
template <class T>
void check_sums_at_owners(Communicator& ranks, Device device, DType dtype, DType sent, std::size_t bucket) {
  const std::vector<std::int64_t> begins = unequal_shares(ranks);
  const auto own = static_cast<std::size_t>(ranks.rank());
  const Tensor values = numbers<T>(ranks.rank(), begins.back(), dtype).to(device);
  ranks.sum_at_owners({values, begins}, {.order = ReduceOrder::any, .dtype = sent, .bucket_bytes = bucket});
  const Tensor got = values.to(kCpu);
  const Tensor everywhere = numbers<T>(ranks.rank(), begins.back(), dtype).to(device);
  const ReduceOrder order = device.is_cpu() ? ReduceOrder::rank : ReduceOrder::any;
  ranks.sum(everywhere, {.order = order, .dtype = sent, .bucket_bytes = bucket});
  const Tensor wanted = everywhere.to(kCpu);
  const double allowed = device.is_cpu() || ranks.size() == 2 ? 0 : sent == DType::bf16 ? 1e-2 : 1e-6;
  for (std::int64_t i = begins[own]; i < begins[own + 1]; ++i) {
    const double off = static_cast<double>(got.data<T>()[i]) - static_cast<double>(wanted.data<T>()[i]);
    require(std::abs(off) <= allowed * std::exp2(i % 30) * ranks.size(), "a sum at its owner", ranks);
  }
  if (device.is_cuda()) return;
  const Tensor part = numbers<T>(ranks.rank(), begins.back(), dtype);
  const Tensor total = numbers<T>(99, begins.back(), dtype);
  ranks.sum_in_order(part, total, Communicator::Into::add, bucket, begins);
  for (std::int64_t i = begins[own]; i < begins[own + 1]; ++i) {
    T added = static_cast<T>(number(99, i));
    for (int r = 0; r < ranks.size(); ++r) added += static_cast<T>(number(r, i));
    require(total.data<T>()[i] == added, "the added sum at its owner", ranks);
  }
}

// Each rank has the numbers of its share right, and all others wrong.
template <class T>
void check_shares(Communicator& ranks, Device device, DType dtype, std::size_t bucket) {
  const std::vector<std::int64_t> begins = unequal_shares(ranks);
  const Tensor values = Tensor::full({begins.back()}, dtype, -1);
  const auto own = static_cast<std::size_t>(ranks.rank());
  for (std::int64_t i = begins[own]; i < begins[own + 1]; ++i) values.data<T>()[i] = static_cast<T>(number(3, i));
  const auto require_all = [&](const Tensor& all, const char* what) {
    for (std::int64_t i = 0; i < all.numel(); ++i) {
      require(all.data<T>()[i] == static_cast<T>(number(3, i)), what, ranks);
    }
  };
  if (device.is_cpu() && dtype != DType::bf16) {
    const Tensor whole = ranks.leads() ? Tensor::full(values.shape(), dtype, -2) : Tensor();
    ranks.gather_at_leader(values.slice(begins[own], begins[own + 1]), whole, begins, bucket);
    if (ranks.leads()) require_all(whole, "what rank 0 gets of each rank");
  }
  const Tensor there = values.to(device);
  const Tensor second = there.clone();
  ranks.gather_shares({{there, begins}, {second, begins}}, "the test", bucket);
  if (device.is_cuda()) ranks.on_device(device).wait("the test");
  require_all(there.to(kCpu), "what each rank gives to all");
  require_all(second.to(kCpu), "what each rank gives to all, of a second tensor");
}

void check_texts(Communicator& ranks) {
  const std::string own(static_cast<std::size_t>(ranks.rank()) * 3, static_cast<char>('a' + ranks.rank()));
  const std::vector<std::string> all = ranks.gather(own);
  require(static_cast<int>(all.size()) == ranks.size(), "a text of each", ranks);
  for (int r = 0; r < ranks.size(); ++r) {
    const std::string wanted(static_cast<std::size_t>(r) * 3, static_cast<char>('a' + r));
    require(all[static_cast<std::size_t>(r)] == wanted, "the text of each rank", ranks);
  }
  require(ranks.from_leader("rank " + std::to_string(ranks.rank())) == "rank 0", "the text of rank 0", ranks);
  require(ranks.largest(5 - ranks.rank()) == 5, "the largest number", ranks);
  require(ranks.largest(ranks.rank()) == ranks.size() - 1, "the largest number of the last rank", ranks);
}

// Of two tensors in one piece, and of one through Communicator::sum().
template <class T>
void check_device_sums(Communicator& ranks, Device device, DType dtype, DType sent, double allowed) {
  DeviceSums& sums = ranks.on_device(device);
  const std::int64_t count = 1000;
  sums.reserve(2 * count, sent);
  const Tensor first = numbers<T>(ranks.rank(), count, dtype).to(device);
  const Tensor second = numbers<T>(ranks.rank() + 10, count, dtype).to(device);
  const Tensor alone = numbers<T>(ranks.rank() + 20, count, dtype).to(device);
  const DeviceSums::Summand parts[] = {{first}, {second}};
  sums.add_up(parts, sent);
  sums.join();
  sums.wait("the test");
  ranks.sum(alone, {.dtype = sent, .bucket_bytes = 256});
  const Tensor of_host[] = {first.to(kCpu), second.to(kCpu), alone.to(kCpu)};
  double mixed = 0;
  for (int k = 0; k < 3; ++k) {
    for (std::int64_t i = 0; i < count; ++i) {
      double sum = 0;
      for (int r = 0; r < ranks.size(); ++r) sum += number(r + 10 * k, i);
      const auto got = static_cast<double>(of_host[k].data<T>()[i]);
      require(std::abs(got - sum) <= allowed * std::exp2(i % 30) * ranks.size(), "the sum on a device", ranks);
      mixed += got * static_cast<double>(i + 1);
    }
  }
  for (const double other : ranks.gather(std::span(&mixed, 1))) {
    require(other == mixed, "equal bits on each rank", ranks);
  }
}

void check_device(Communicator& ranks) {
  const Device device{Device::Kind::cuda, static_cast<std::int8_t>(ranks.rank())};
  check_device_sums<float>(ranks, device, DType::f32, DType::f32, 1e-6);
  check_device_sums<double>(ranks, device, DType::f64, DType::f64, 1e-14);
  check_device_sums<float>(ranks, device, DType::f32, DType::bf16, 1e-2);
  check_shares<float>(ranks, device, DType::f32, kBucketBytes);
  check_shares<bf16>(ranks, device, DType::bf16, kBucketBytes);
  for (const std::size_t bucket : {std::size_t{256}, kBucketBytes}) {
    check_sums_at_owners<float>(ranks, device, DType::f32, DType::f32, bucket);
    check_sums_at_owners<float>(ranks, device, DType::f32, DType::bf16, bucket);
    check_sums_at_owners<double>(ranks, device, DType::f64, DType::f64, bucket);
  }
}

// More than the buffers of sockets hold, from each to each at the same time, and unequal.
void check_large(Communicator& ranks) {
  const auto length = [](int rank) { return (std::size_t{6} << 20U) * static_cast<std::size_t>(rank + 1) + 1; };
  const std::vector<std::string> all =
      ranks.gather(std::string(length(ranks.rank()), static_cast<char>('a' + ranks.rank())));
  for (int r = 0; r < ranks.size(); ++r) {
    const bool whole = all[static_cast<std::size_t>(r)] == std::string(length(r), static_cast<char>('a' + r));
    require(whole, "a large text of each rank", ranks);
  }
  const std::int64_t count = 3'000'001;
  const Tensor values = Tensor::full({count}, DType::f32, ranks.rank() + 1);
  ranks.sum(values);
  const auto sum = static_cast<float>(ranks.size() * (ranks.size() + 1)) / 2;
  for (std::int64_t i = 0; i < count; ++i) require(values.data<float>()[i] == sum, "a large sum", ranks);
}

int run(const std::string& test, const std::string& folder) {
  const int limit = test == "silent" ? 2 : 60;  // seconds
  const std::unique_ptr<Communicator> ranks =
      join_job(read_launch(process_environment()), {.timeout = std::chrono::seconds(limit), .folder = folder});
  const bool last = ranks->rank() == ranks->size() - 1;
  if (test == "laws") {
    check_texts(*ranks);
    check_large(*ranks);
    for (const std::int64_t count : {1, 2, 7, 1000}) {
      for (const std::size_t bucket : {std::size_t{1}, std::size_t{256}, kBucketBytes}) {
        if (bucket == 1 && count > 7) continue;  // one number at a time
        check_sums<float>(*ranks, count, DType::f32, bucket);
        check_sums<double>(*ranks, count, DType::f64, bucket);
        check_bf16(*ranks, count, bucket);
      }
    }
    for (const std::size_t bucket : {std::size_t{1}, std::size_t{100}, kBucketBytes}) {
      check_shares<float>(*ranks, kCpu, DType::f32, bucket);
      check_shares<double>(*ranks, kCpu, DType::f64, bucket);
      check_shares<bf16>(*ranks, kCpu, DType::bf16, bucket);
      check_sums_at_owners<float>(*ranks, kCpu, DType::f32, DType::f32, bucket);
      check_sums_at_owners<float>(*ranks, kCpu, DType::f32, DType::bf16, bucket);
      check_sums_at_owners<double>(*ranks, kCpu, DType::f64, DType::f64, bucket);
    }
  }
  if (test == "device") check_device(*ranks);
  if (test == "silent" && last) {
    std::this_thread::sleep_for(std::chrono::seconds(20));  // mpirun ends it before
  }
  if (test == "leaves" && last) {
    ranks->leave("the disk is full");
    return 4;
  }
  if (test == "gone") ranks->meet("the beginning of the test");
  if (test == "gone" && last) ::_exit(0);
  if (test == "early" && last) return 0;
  if (test == "other" && last) ranks->gather(std::vector<double>{1, 2});
  ranks->meet("the end of the test");
  return 0;
}

int listen_silently(const char* port) {
  const tcp::Socket socket = tcp::listen_at("127.0.0.1", std::atoi(port));
  if (!socket) return 1;
  std::this_thread::sleep_for(std::chrono::seconds(20));
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    if (argc == 3 && std::strcmp(argv[1], "listen") == 0) return listen_silently(argv[2]);
    if (argc == 2 || argc == 3) return run(argv[1], argc == 3 ? argv[2] : "");
    std::fprintf(stderr, "communicator_ranks: laws, meet, device, silent, leaves, gone, early or other is required\n");
    return 2;
  } catch (const RankLost& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 4;
  } catch (const Error& error) {
    std::fprintf(stderr, "unexpected: %s\n", error.what());
    return 1;
  }
}
