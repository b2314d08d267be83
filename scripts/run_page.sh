#!/usr/bin/env bash
# Runs the commands of a page of docs/ as they stand there, one after the other in one shell, and ends at the first failure.
#   scripts/run_page.sh PAGE [FOLDER]      such as docs/recurformer.md
# A block of code that begins with "# NAME.toml" is written to that file; every other block is commands. They run in FOLDER
# (a new one in /tmp without it, removed afterwards), where build/ and data/ are those of this repository: preset cpu must
# be built. A command of a page that needs other files fails, so this is for pages whose commands bring what they need.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
page=$(realpath "${1:?usage: run_page.sh PAGE [FOLDER]}")
if [ $# -gt 1 ]; then
  mkdir -p "$2"
  folder=$(realpath "$2")
else
  folder=$(mktemp -d)
  trap 'rm -rf "$folder"' EXIT
fi
cd "$folder"
for name in build data; do [ -e "$name" ] || ln -s "$here/$name" "$name"; done

awk '
  /^```/ { inside = !inside; first = inside; file = ""; next }
  !inside { next }
  first && match($0, /^# [A-Za-z0-9_-]+\.toml$/) { file = substr($0, 3); printf "" >file }
  { first = 0; if (file != "") print >file; else print }
' "$page" >commands.sh
[ -s commands.sh ] || { echo "run_page.sh: $page has no commands" >&2; exit 2; }
echo "== $(grep -c . commands.sh) lines of commands of $page, in $folder"
start=$(date +%s)
bash -euxo pipefail commands.sh || { echo "run_page.sh: a command of $page failed, the last one shown" >&2; exit 1; }
echo "== every command of $page ran, $(($(date +%s) - start)) s"
