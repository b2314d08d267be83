#!/usr/bin/env bash
# Repeats docs/studies/recurformer.md: trains or imports the bases, then runs the studies and prints their tables.
#   scripts/study_recurformer.sh FOLDER [JOBS]
# FOLDER holds tinystories_train.txt and tinystories_valid.txt (one story after the other), and stories260K.bin and
# tok512.bin of llama2.c; runs are made in FOLDER/runs/studies. What was made before is kept, and continued where it
# was stopped.
set -euo pipefail
here=$(cd "$(dirname "$0")/.." && pwd)
mixgrad=${MIXGRAD:-$here/build/cpu/bin/mixgrad}
cd "${1:?usage: study_recurformer.sh FOLDER [JOBS]}"
jobs=${2:-2}
for file in tinystories_train.txt tinystories_valid.txt stories260K.bin tok512.bin; do
  [ -e "$file" ] || { echo "$file is required in $PWD" >&2; exit 2; }
done
head -c 100000 tinystories_valid.txt >stories_valid_100k.txt

if [ ! -e runs/studies/story/latest ]; then
  "$mixgrad" train --data tinystories_train.txt --valid tinystories_valid.txt --tokenizer bpe:512 --layers 4 \
    --d-model 64 --heads 8 --context 256 --mlp swiglu --norm rmsnorm --batch 8 --steps 3000 --lr 0.003 \
    --min-lr 0.0003 --warmup 100 --eval-every 1000 --threads 1 --sample-tokens 0 --out runs/studies/story
fi
[ -e runs/studies/stories260k ] ||
  "$mixgrad" import stories260K.bin --tokenizer tok512.bin --out runs/studies/stories260k
for study in story story_taught story_long stories260k; do
  echo "== $study"
  "$mixgrad" study recurformer --config "$here/docs/studies/$study.toml" --out "runs/studies/$study-study" --jobs "$jobs"
done
