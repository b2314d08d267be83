#include <atomic>
#include <mutex>

#include "ops/matmul/choices.h"

namespace mixgrad {
namespace {

std::atomic<int> g_timing{0};
std::mutex g_mutex;
MatmulChoices& all() {
  static MatmulChoices choices;
  return choices;
}

}  // namespace

void set_matmul_choices(const MatmulChoices& choices) {
  const std::scoped_lock lock(g_mutex);
  all() = choices;
}

MatmulChoices matmul_choices() {
  const std::scoped_lock lock(g_mutex);
  return all();
}

std::string matmul_choice(const std::string& product) {
  const std::scoped_lock lock(g_mutex);
  const auto found = all().algorithms.find(product);
  return found == all().algorithms.end() ? std::string() : found->second;
}

void note_matmul_choice(const std::string& library, const std::string& product, const std::string& algorithm) {
  const std::scoped_lock lock(g_mutex);
  all().library = library;
  all().algorithms[product] = algorithm;
}

MatmulTiming::MatmulTiming() { ++g_timing; }
MatmulTiming::~MatmulTiming() { --g_timing; }
bool MatmulTiming::on() { return g_timing > 0; }

}  // namespace mixgrad
