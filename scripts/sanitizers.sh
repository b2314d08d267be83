#!/usr/bin/env bash
# Runs the program and its tests under the tools that find what a passing test hides; a FIGURE line for each:
#   check      AddressSanitizer, UndefinedBehaviorSanitizer, LeakSanitizer (GCC); fresh memory is NaN
#   tsan       ThreadSanitizer with clang's OpenMP, which tells it what OpenMP synchronises (libarcher.so, in libomp5)
#   valgrind   memcheck: the tests in their own process
#   scripts/sanitizers.sh [check] [tsan] [valgrind] [tsan-program] [valgrind-program]     the first three without a word
# tsan-program and valgrind-program build and run the program's verbs alone, a third of the time; the words without it
# include them. Each tool must first report mistakes planted for it (tests/faults/planted.cpp).
# Needs clang, libomp-dev, valgrind (Debian).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

build() { # PRESET [TARGETS]
  cmake --preset "$1" --log-level=NOTICE
  cmake --build --preset "$1" ${2:+--target "${@:2}"}
}

failed() {
  echo "sanitizers.sh: $1" >&2
  cat "$folder/out" "$folder/log" >&2 2>/dev/null || true
  exit 1
}

# Every verb; models of every mixer, trained, stopped, resumed. `under` runs the program with the tool.
runs=0
program() {
  echo "== $tool: mixgrad ${*//"$folder"\//}"
  under "$bin/mixgrad" "$@" >"$folder/out" 2>&1 || failed "mixgrad $*"
  runs=$((runs + 1))
}
verbs() {
  local tiny=(--layers 2 --d-model 16 --heads 2 --context 8 --threads 3 --data "$folder/text.txt") mixer
  head -c 3000 data/tinyshakespeare.txt >"$folder/text.txt"
  runs=0
  for mixer in attention hsm:fusion,hsm:vector "mixed(softmax=1,shift=1)" mamba; do
    program train "${tiny[@]}" --batch 3 --mixer "$mixer" --steps 4 --stop-after 2 --out "$folder/$mixer"
    program train --resume "$folder/$mixer" --threads 2
    program generate --checkpoint "$folder/$mixer" --tokens 20 --threads 3
    program eval --checkpoint "$folder/$mixer" --data "$folder/text.txt" --threads 3
  done
  program inspect attention --checkpoint "$folder/attention" --text "To be, or not"
  program inspect model --checkpoint "$folder/mamba"
  program inspect tape --checkpoint "$folder/mamba"
  program conform --threads 3 tests/conformance/*.safetensors
  program bench train "${tiny[@]}" --batch 3 --rounds 1
  program bench decode "${tiny[@]}" --tokens 20
  program train "${tiny[@]}" --batch 3 --plan
  program ops
  if [ "$tool" = tsan ]; then program gradcheck --threads 3; else program gradcheck --op shift_mix --threads 2; fi
}

# Which mistakes the tool at hand must report.
planted() {
  local mistake
  for mistake in "$@"; do
    if under "$bin/mixgrad_planted" "$mistake" >"$folder/out" 2>&1; then
      failed "$tool does not report the planted mistake '$mistake'"
    fi
  done
}

# ctest's themes without those that the pattern cuts; planted mistakes are among them.
# Its failure ends the script only where the value is assigned by itself: neither in an `echo` nor in a `local`.
themes() { # PRESET LEFT_OUT
  ctest --preset "$1" --exclude-regex "$2" >"$folder/log" || failed "ctest --preset $1"
  sed -n 's/^100% tests passed, 0 tests failed out of //p' "$folder/log"
}

check() {
  build check
  local count
  count=$(themes check '^$')
  echo "FIGURE ASan, UBSan, LSan (GCC): $count themes of ctest without a report"
}

use_tsan() {
  tool=tsan bin=build/tsan/bin
  under() { TSAN_OPTIONS=ignore_noninstrumented_modules=1 OMP_NUM_THREADS=3 "$@"; }
}
tsan_program() {
  use_tsan
  build tsan mixgrad mixgrad_planted
  planted race
  verbs
  echo "FIGURE TSan (clang, libomp with archer), the program: $runs runs of its verbs without a report"
}
# Left out: `reference` and these of reliability_* start the program over and over for what it does without threads.
tsan() {
  tsan_program
  build tsan
  local count
  count=$(themes tsan '^(reference|reliability_(fault|files|kill|memory|typos))$')
  echo "FIGURE TSan, the tests: $count themes of ctest without a report"
}

# An error, or a block lost definitely, indirectly or possibly, is exit code 99.
use_valgrind() {
  tool=valgrind bin=build/valgrind/bin
  under() {
    OMP_NUM_THREADS=2 OMP_WAIT_POLICY=passive valgrind --leak-check=full --show-leak-kinds=definite,indirect,possible \
      --errors-for-leak-kinds=definite,indirect,possible --error-exitcode=99 --suppressions=tests/support/valgrind.supp \
      --soname-synonyms=somalloc=NONE --log-file="$folder/log" "$@"
  }
}
valgrind_program() {
  use_valgrind
  build valgrind mixgrad mixgrad_planted
  planted leak past_the_end uninitialised
  verbs
  echo "FIGURE valgrind memcheck, the program: $runs runs of its verbs, 0 errors, 0 blocks lost"
}
# Left out: cli_* and reliability_*, which start the program (its verbs run here by themselves).
valgrind_all() {
  valgrind_program
  build valgrind
  local theme count=0
  for theme in $(find tests -name "*_test.cpp" -printf "%f\n" | sort); do
    theme=${theme%_test.cpp}
    [[ $theme != cli* && $theme != reliability_* ]] || continue
    if "$bin/mixgrad_tests" --count --source-file="*/${theme}_test.cpp" | grep -q "filters: 0$"; then
      echo "== valgrind: $theme has no test without a GPU"
      continue
    fi
    echo "== valgrind: $theme"
    under "$bin/mixgrad_tests" --source-file="*/${theme}_test.cpp" >"$folder/out" 2>&1 || failed "theme $theme"
    count=$((count + 1))
  done
  echo "FIGURE valgrind memcheck, the tests: $count themes, 0 errors, 0 blocks lost"
}

[ "$#" -gt 0 ] || set -- check tsan valgrind
for word in "$@"; do
  case $word in
    check | tsan) "$word" ;;
    tsan-program) tsan_program ;;
    valgrind-program) valgrind_program ;;
    valgrind) valgrind_all ;;
    *) echo "usage: scripts/sanitizers.sh [check] [tsan] [valgrind] [tsan-program] [valgrind-program]" >&2 && exit 2 ;;
  esac
done
