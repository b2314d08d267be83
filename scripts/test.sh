#!/usr/bin/env bash
# Installs what is missing, builds, and runs every test.
#   scripts/test.sh [OPTIONS OF ctest]      such as -R op, -L fast, --verbose
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

./scripts/install_packages.sh
first=() # a first build compiles twelve files as one, which halves its time; a folder that exists keeps its own setting
[ -f build/cpu/CMakeCache.txt ] || first=(-DMIXGRAD_UNITY=ON)
cmake --preset cpu --log-level=NOTICE "${first[@]}"
cmake --build --preset cpu
tests/reference/test.sh --can-run || true  # says so when the comparison with PyTorch will be skipped
ctest --preset cpu --parallel "$(nproc)" "$@"
