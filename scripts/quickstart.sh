#!/usr/bin/env bash
# From a fresh clone to a trained model: installs what is missing, builds, trains the preset char and prints a sample.
#   scripts/quickstart.sh [OPTIONS OF mixgrad train]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

./scripts/install_packages.sh
first=() # a first build compiles twelve files as one, which halves its time; a folder that exists keeps its own setting
[ -f build/cpu/CMakeCache.txt ] || first=(-DMIXGRAD_UNITY=ON)
cmake --preset cpu --log-level=NOTICE "${first[@]}"
cmake --build --preset cpu --target mixgrad

out=runs/char # an earlier run stays
for ((n = 2; ; n++)); do
  [ -e "$out" ] || break
  out=runs/char-$n
done
build/cpu/bin/mixgrad train --preset char --out "$out" "$@"
echo "The model is in $out. More of it: build/cpu/bin/mixgrad generate --checkpoint $out --prompt 'ROMEO:' --tokens 500"
