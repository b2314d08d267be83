// Mistakes made on purpose, one by name: each must be reported by the tool that is there to find it, or a clean run of
// that tool would say nothing. Built plainly and with every sanitizer; ctest and scripts/sanitizers.sh run it.
#include <cstdio>
#include <cstdlib>
#include <string>

namespace {

void leak() {
  void* volatile lost = std::malloc(1234);
  std::printf("%d\n", lost == nullptr ? 0 : 1);
  lost = nullptr;
}

void read_past_the_end() {
  int* const values = new int[4]{};
  volatile int index = 4;
  std::printf("%d\n", values[index]);
  delete[] values;
}

void overflow() {
  volatile int large = 2147483647;
  large = large + 1;
}

void branch_on_uninitialised() {
  int* const values = static_cast<int*>(std::malloc(16));
  int* volatile hidden = values;
  if (hidden[2] > 7) std::puts("above");
  std::free(values);
}

void race() {
  int sum = 0;
#pragma omp parallel num_threads(4)
  for (int i = 0; i < 1000; ++i) sum += i;
  std::printf("%d\n", sum);
}

}  // namespace

int main(int argc, char** argv) {
  const std::string which = argc == 2 ? argv[1] : "";
  if (which == "leak") {
    leak();
  } else if (which == "past_the_end") {
    read_past_the_end();
  } else if (which == "overflow") {
    overflow();
  } else if (which == "uninitialised") {
    branch_on_uninitialised();
  } else if (which == "race") {
    race();
  } else {
    std::fputs("usage: mixgrad_planted leak|past_the_end|overflow|uninitialised|race\n", stderr);
    return 2;
  }
}
