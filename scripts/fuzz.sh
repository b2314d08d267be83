#!/usr/bin/env bash
# Builds and runs the fuzz targets (tests/fuzz), one after the other, for SECONDS each (60).
#   scripts/fuzz.sh [SECONDS] [TARGETS]
# Findings are left in build/fuzz/findings. Needs clang and libclang-rt-14-dev (Debian).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

seconds=${1:-60}
cmake --preset fuzz -DCMAKE_MESSAGE_LOG_LEVEL=NOTICE
cmake --build --preset fuzz
if [ "$#" -gt 1 ]; then
  targets=("${@:2}")
else
  targets=()
  for source in tests/fuzz/*_fuzz.cpp; do targets+=("$(basename "$source" _fuzz.cpp)"); done
fi

total=0
mkdir -p build/fuzz/findings
for target in "${targets[@]}"; do
  corpus=build/fuzz/corpus/$target
  mkdir -p "$corpus"
  # Half a second for an input, 64 MiB for one allocation, 1 GiB in all: more is a finding.
  if ! build/fuzz/bin/"${target}_fuzz" -max_total_time="$seconds" -timeout=1 -malloc_limit_mb=64 -rss_limit_mb=1024 \
    -max_len=4096 -print_final_stats=1 -artifact_prefix=build/fuzz/findings/"$target"- \
    "$corpus" tests/fuzz/seeds/"$target" 2>build/fuzz/"$target".log; then
    tail -40 build/fuzz/"$target".log >&2
    echo "fuzz.sh: $target has a finding, see build/fuzz/findings" >&2
    exit 1
  fi
  runs=$(sed -n 's/^stat::number_of_executed_units: *//p' build/fuzz/"$target".log)
  total=$((total + runs))
  echo "$target: $runs executions, no finding"
done
echo "FIGURE fuzzing, ${#targets[@]} readers, $seconds s each: $total executions, 0 crashes, 0 hangs, 0 sanitizer reports"
