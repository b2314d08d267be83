#!/usr/bin/env bash
# Builds the page build/web/mixgrad.html: the library as WebAssembly in one HTML file that needs no network.
#   scripts/web.sh [--install] [--test]
# --install: installs Emscripten first (Debian, Ubuntu); --test: then works with the page in headless Chromium, and compares it
# with build/cpu/bin/mixgrad where that is built.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
test=""
for word in "$@"; do
  case $word in
    --install) scripts/install_packages.sh emscripten python3 ;;
    --test) test=yes ;;
    *) echo "web.sh: --install or --test; got $word" >&2; exit 2 ;;
  esac
done
command -v em++ >/dev/null || { echo "web.sh: Emscripten is required; there is no em++; scripts/web.sh --install installs it (Debian)" >&2; exit 2; }
cmake --preset web --log-level=NOTICE
cmake --build --preset web
if [ -n "$test" ]; then
  program=()
  [ ! -x build/cpu/bin/mixgrad ] || program=(--program build/cpu/bin/mixgrad)
  python3 tests/browser/web_page.py build/web/mixgrad.html "${program[@]}"
fi
