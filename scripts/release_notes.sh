#!/usr/bin/env bash
# Prints what CHANGELOG.md says of a version: the message of the version's tag, and the text of its release.
#   scripts/release_notes.sh 0.2.0 | git tag -a v0.2.0 --cleanup=verbatim -F -
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

[ $# -eq 1 ] || { echo "usage: scripts/release_notes.sh VERSION" >&2 && exit 2; }
notes=$(awk -v heading="## $1" '/^## / { inside = index($0 " ", heading " ") == 1 } inside' CHANGELOG.md)
[ -n "$notes" ] || { echo "release_notes.sh: CHANGELOG.md has no heading \"## $1 (DATE)\"; write it first" >&2 && exit 1; }
printf '%s\n' "mixgrad ${notes#\#\# }"
