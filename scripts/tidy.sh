#!/usr/bin/env bash
# clang-tidy over every source file of ours (rules: .clang-tidy), while clang compiles them; only what changed is done
# again. Needs clang, clang-tidy and libomp-dev.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

cmake --preset tidy -DCMAKE_MESSAGE_LOG_LEVEL=NOTICE
cmake --build --preset tidy -- -k 0
