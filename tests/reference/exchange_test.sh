#!/usr/bin/env bash
# ctest's entry `reference_exchange`: mixgrad's import and export against the Python package `transformers`.
#   tests/reference/exchange_test.sh MIXGRAD [OPTIONS OF exchange_test.py]
# MIXGRAD_PYTHON names a Python with `transformers` and `torch`, otherwise python3.
# Exit code 77 (skipped for ctest) when python3 has no `transformers`.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
python=${MIXGRAD_PYTHON:-python3}

if ! "$python" -c 'import transformers, torch, safetensors' 2>/dev/null; then
  echo "NOT RUN: test 'reference_exchange' (import and export against transformers): '$python' cannot import" \
    "transformers and torch; install them (pip install torch transformers) or set MIXGRAD_PYTHON to a Python that has them"
  exit 77
fi
binary=$1
shift
PYTHONDONTWRITEBYTECODE=1 "$python" "$here/exchange_test.py" --binary "$binary" "$@"
