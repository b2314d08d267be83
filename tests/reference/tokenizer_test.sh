#!/usr/bin/env bash
# ctest's entry `reference_tokenizers`: mixgrad's tokenizers against the Python package `tokenizers`.
#   tests/reference/tokenizer_test.sh MIXGRAD [OPTIONS OF tokenizer_test.py]
# MIXGRAD_PYTHON names a Python with `tokenizers`, otherwise python3; MIXGRAD_GPT2 a folder with GPT-2's two files.
# Exit code 77 (skipped for ctest) when python3 has no `tokenizers`.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
python=${MIXGRAD_PYTHON:-python3}

if ! "$python" -c 'import tokenizers' 2>/dev/null; then
  echo "NOT RUN: test 'reference_tokenizers' (ids against the package tokenizers): '$python' cannot import tokenizers;" \
    "install it (pip install tokenizers) or set MIXGRAD_PYTHON to a Python that has it"
  exit 77
fi
binary=$1
shift
arguments=(--binary "$binary")
if [ -n "${MIXGRAD_GPT2:-}" ]; then
  arguments+=(--gpt2 "$MIXGRAD_GPT2")
else
  echo "NOT RUN: GPT-2's own files: MIXGRAD_GPT2 names no folder with vocab.json and merges.txt"
fi
PYTHONDONTWRITEBYTECODE=1 "$python" "$here/tokenizer_test.py" "${arguments[@]}" "$@"
