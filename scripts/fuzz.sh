#!/usr/bin/env bash
# Builds and runs the fuzz targets (tests/fuzz), one after the other, for SECONDS each (60), or for so many executions.
#   scripts/fuzz.sh [SECONDS] [TARGETS]
#   scripts/fuzz.sh --runs 2000000 [TARGETS]
# What has been found of new ways through the readers is kept in build/fuzz/corpus and is where the next run begins.
# Findings are left in build/fuzz/findings. Needs clang and libclang-rt-14-dev (Debian).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

if [ "${1:-}" = --runs ]; then
  limit=("-runs=$2") && length="$2 executions each" && shift 2
else
  limit=("-max_total_time=${1:-60}") && length="${1:-60} s each" && shift $(($# > 0))
fi
targets=("$@")
cmake --preset fuzz --log-level=NOTICE
cmake --build --preset fuzz
if [ "${#targets[@]}" -eq 0 ]; then
  for source in tests/fuzz/*_fuzz.cpp tests/fuzz/readers/*_fuzz.cpp; do targets+=("$(basename "$source" _fuzz.cpp)"); done
fi

# Freed memory is kept from use for 16 MiB instead of 256: enough for all that one input frees, and it stays in the cache.
# Three frames for the stack of an allocation: a finding is run again by hand with all of them.
export ASAN_OPTIONS=quarantine_size_mb=16:malloc_context_size=3:detect_leaks=1:allocator_may_return_null=0
total=0
mkdir -p build/fuzz/findings
for target in "${targets[@]}"; do
  corpus=build/fuzz/corpus/$target
  mkdir -p "$corpus"
  log=build/fuzz/$target.log
  # One second for an input, 64 MiB for one allocation, 1 GiB in all: more is a finding.
  if ! build/fuzz/bin/"${target}_fuzz" "${limit[@]}" -timeout=1 -malloc_limit_mb=64 -rss_limit_mb=1024 \
    -max_len=4096 -print_final_stats=1 -artifact_prefix=build/fuzz/findings/"$target"- \
    "$corpus" tests/fuzz/seeds/"$target" 2>"$log"; then
    tail -40 "$log" >&2
    echo "fuzz.sh: $target has a finding, see build/fuzz/findings" >&2
    exit 1
  fi
  stat() { sed -n "s/^stat::$1: *//p" "$log"; }
  total=$((total + $(stat number_of_executed_units)))
  echo "$target: $(stat number_of_executed_units) executions, $(stat average_exec_per_sec) a second, no finding"
done
echo "FIGURE fuzzing, ${#targets[@]} readers, $length: $total executions, 0 crashes, 0 hangs, 0 sanitizer reports"
