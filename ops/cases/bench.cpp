#include "ops/cases/bench.h"

#include "core/error.h"
#include "core/text/suggest.h"

namespace mixgrad::test {
namespace {

std::vector<std::string> names_of(const std::vector<BenchSize>& sizes) {
  std::vector<std::string> names;
  for (const BenchSize& size : sizes) names.push_back(size.name);
  return names;
}

}  // namespace

std::int64_t BenchSizes::operator[](std::string_view name) const {
  for (const BenchSize& size : sizes_) {
    if (size.name == name) return size.value;
  }
  raise<ValueError>("bench of ", op_, ": .make asks for the size ", name, ", which .sizes lacks; it has ",
                    join(names_of(sizes_)));
}

void BenchSizes::set(std::string_view name, std::int64_t value) {
  for (BenchSize& size : sizes_) {
    if (size.name != name) continue;
    if (value < size.least) {
      raise<ValueError>("bench of ", op_, ": ", name, " (", size.what, ") must be at least ", size.least, "; got ",
                        value, "; correct it");
    }
    size.value = value;
    return;
  }
  std::string known;
  for (const BenchSize& size : sizes_) known += (known.empty() ? "" : ", ") + size.name + " (" + size.what + ")";
  raise<ValueError>("bench of ", op_, ": a size must be one of the operator's; got ", quote(std::string(name)), "; ",
                    "sizes: ", known);
}

std::string BenchSizes::text() const {
  std::string text;
  for (const BenchSize& size : sizes_) {
    text += (text.empty() ? "" : " ") + size.name + "=" + std::to_string(size.value);
  }
  return text;
}

BenchInput BenchInput::normal(const Shape& shape, double deviation, double mean) {
  return {.values = Values::normal, .shape = shape, .mean = mean, .deviation = deviation};
}

BenchInput BenchInput::tokens(const Shape& shape, std::int64_t vocabulary) {
  return {.values = Values::tokens, .shape = shape, .vocabulary = static_cast<std::int32_t>(vocabulary)};
}

BenchInput BenchInput::in_rows_of(std::int64_t elements) const {
  BenchInput input = *this;
  input.row = elements;
  return input;
}

}  // namespace mixgrad::test
