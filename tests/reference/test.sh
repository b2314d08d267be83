#!/usr/bin/env bash
# ctest's entry `reference`: the Python reference against the shipped cases, then the engine against the reference.
#   tests/reference/test.sh MIXGRAD        the program; MIXGRAD_PYTHON names a Python with PyTorch, otherwise python3
#   tests/reference/test.sh --can-run      only says whether it can
#   tests/reference/test.sh --lists        only checks that every kind of mixer has a reference; needs no PyTorch
# Exit code 77 (skipped for ctest) when python3 has no PyTorch; a MIXGRAD_PYTHON that has none is an error.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
python=${MIXGRAD_PYTHON:-python3}

export PYTHONDONTWRITEBYTECODE=1
if [ "$1" = --lists ]; then
  command -v "$python" >/dev/null && exec "$python" "$here/kinds.py"
  echo "NOT RUN: test 'reference_lists' (every kind of mixer has a reference): there is no '$python'"
  exit 77
fi

if ! "$python" -c 'import torch' 2>/dev/null; then
  echo "NOT RUN: test 'reference' (the engine against PyTorch on random models): '$python' cannot import torch;" \
    "install PyTorch (pip install torch) or set MIXGRAD_PYTHON to a Python that has it"
  if [ -n "${MIXGRAD_PYTHON:-}" ]; then exit 1; else exit 77; fi
fi
[ "$1" = --can-run ] && exit 0

"$python" "$here/kinds.py"
"$python" "$here/check.py" "$here"/../conformance/*.safetensors
"$python" "$here/engine_test.py" --binary "$1" --seed "${MIXGRAD_REFERENCE_SEED:-1}"
