#!/usr/bin/env bash
# Installs build/cpu and uses it as a stranger would: copies examples/ into a clean folder, hides this source tree where the
# system allows it, compiles every public header alone, builds and runs each example against the installed package. Then the
# library as a part of another project's build (FetchContent, add_subdirectory).
#   scripts/examples.sh PREFIX [EXAMPLES]     PREFIX: an empty or absent folder outside this one; `headers` counts as one
# CXX names the compiler of the examples (c++). BUILD names another build folder than build/cpu, such as build/cuda.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

[ "$#" -gt 0 ] || { echo "usage: scripts/examples.sh PREFIX [EXAMPLES]" >&2 && exit 2; }
export OMP_WAIT_POLICY=passive # other jobs may need the cores
prefix=$(realpath -m "$1") source=$PWD build=${BUILD:-build/cpu} compiler=${CXX:-c++}
shift
case $prefix/ in "$source"/*) echo "examples.sh: PREFIX must lie outside $source, got $prefix" >&2 && exit 2 ;; esac
if [ -e "$prefix" ] && [ -n "$(ls -A "$prefix")" ]; then
  echo "examples.sh: PREFIX must be empty or absent: $prefix holds files, which could stand in for what is not installed" >&2
  exit 2
fi
if [ "$#" -gt 0 ]; then
  names=("$@")
else # the nearest to a beginner first
  names=(headers hello_tape train_loop)
  for folder in examples/custom_*/; do [ -d "$folder" ] && names+=("$(basename "$folder")"); done
  names+=(subproject)
fi

root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
failed() {
  echo "examples.sh: $1" >&2
  tail -40 "$root/log" >&2
  exit 1
}
run() { "$@" >"$root/log" 2>&1 || failed "failed: $*"; }

cmake --install "$build" --prefix "$prefix" >"$root/log" || failed "cmake --install $build (is it built?)"
if grep -rlF "$source" "$prefix/include" "$prefix/lib/cmake" >"$root/log"; then failed "installed files name the source tree"; fi
cp -r examples "$root/examples"

# Every command on an example runs without this tree, if a mount namespace may be had (as root, or where users may).
hidden=()
if unshare --mount --map-root-user true 2>/dev/null; then
  # shellcheck disable=SC2016  # the inner shell expands it
  hidden=(unshare --mount --map-root-user bash -c 'mount -t tmpfs none "$1" && cd / && shift && exec "$@"' hide "$source")
  if "${hidden[@]}" test -e "$source/CMakeLists.txt"; then failed "the source tree is still there"; fi
else
  echo "examples.sh: no mount namespace for this user: the source tree stays visible"
fi

# Each public header must compile alone, and must need nothing that is private to the library's build.
headers() {
  private='<(nlohmann|Eigen|Random123|xxhash|CLI|doctest)'
  if grep -rnE "#include $private" "$prefix/include" >"$root/log"; then failed "a public header needs a private library"; fi
  # shellcheck disable=SC2317  # xargs calls it
  compile() {
    printf '#include "%s"\n' "$2" | "$1" -std=c++20 -fopenmp -Wall -Wextra -Werror -I"$3" -fsyntax-only -x c++ - || {
      echo "examples.sh: $2 does not compile alone" >&2
      return 1
    }
  }
  export -f compile
  # shellcheck disable=SC2016
  (cd "$prefix/include/mixgrad" && find . -name '*.h' -printf '%P\0') | run "${hidden[@]}" \
    xargs -0 -P "$(nproc)" -I HEADER bash -c 'compile "$@" || exit 255' one "$compiler" HEADER "$prefix/include/mixgrad"
  echo "headers: $(find "$prefix/include" -name '*.h' | wc -l) public headers compile alone"
}

# Built and run: its program has the name of the folder and prints what it did.
example() {
  local folder=$root/build/$1
  run "${hidden[@]}" cmake -S "$root/examples/$1" -B "$folder" -G Ninja -DCMAKE_PREFIX_PATH="$prefix" \
    -DCMAKE_CXX_COMPILER="$compiler" -DCMAKE_BUILD_TYPE=Release -DCMAKE_EXPORT_COMPILE_COMMANDS=ON
  no_leak "$folder" "$1.cpp"
  run "${hidden[@]}" cmake --build "$folder"
  run "${hidden[@]}" "$folder/$1"
  sed "s/^/$1: /" "$root/log"
}

# The flags with which the library was built must not be those of the example.
no_leak() { # FOLDER FILE
  if grep -F "/$2" "$1/compile_commands.json" | grep -E -- '-march|-Wshadow|-Werror|-fno-math-errno|-fsanitize|-DMIXGRAD' \
    >"$root/log"; then
    failed "flags of the library's build reach $2"
  fi
}

# In build/ and with the flags of the presets, so that a cache of compilations knows the library's files.
subproject() {
  local how flags=(-G Ninja -DCMAKE_CXX_COMPILER="$compiler" -DCMAKE_EXPORT_COMPILE_COMMANDS=ON -DMIXGRAD_WERROR=ON)
  for how in "FETCHCONTENT_SOURCE_DIR_MIXGRAD=$source" "USE_SUBDIRECTORY=$source"; do
    rm -rf build/subproject
    run cmake -S "$root/examples/subproject" -B build/subproject "${flags[@]}" -D"$how"
    no_leak build/subproject subproject.cpp
    run cmake --build build/subproject --target subproject
    run build/subproject/subproject
    sed "s/^/subproject, ${how%%=*}: /" "$root/log"
  done
  rm -rf build/subproject
}

for name in "${names[@]}"; do
  case $name in
    headers | subproject) "$name" ;;
    *) example "$name" ;;
  esac
done
echo "examples: ${names[*]}: built with $compiler against $prefix, and run"
