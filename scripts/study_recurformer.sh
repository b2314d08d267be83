#!/usr/bin/env bash
# Repeats docs/studies/recurformer.md: trains or imports the bases, then runs the studies and prints their tables.
#   scripts/study_recurformer.sh FOLDER [JOBS]         the small studies, on a CPU: hours on two cores
#   scripts/study_recurformer.sh FOLDER JOBS cuda      those of docs/studies/gpu, on a GPU: about 20 minutes with 14
#                                                      jobs (added up from its parts), if nvidia-cuda-mps-control -d
#                                                      was called before
# FOLDER holds tinystories_train.txt and tinystories_valid.txt (one story after the other), and stories260K.bin and
# tok512.bin of llama2.c; runs are made in FOLDER/runs/studies. What was made before is kept, and continued where it
# was stopped.
set -euo pipefail
here=$(cd "$(dirname "$0")/.." && pwd)
device=${3:-cpu}
case $device in
  cpu) mixgrad=${MIXGRAD:-$here/build/cpu/bin/mixgrad} ;;
  cuda) mixgrad=${MIXGRAD:-$here/build/cuda/bin/mixgrad} ;;
  *) echo "study_recurformer.sh: the device must be cpu or cuda; got $device" >&2 && exit 2 ;;
esac
cd "${1:?usage: study_recurformer.sh FOLDER [JOBS] [cpu|cuda]}"
jobs=${2:-2}
for file in tinystories_train.txt tinystories_valid.txt stories260K.bin tok512.bin; do
  [ -e "$file" ] || { echo "$file is required in $PWD" >&2; exit 2; }
done

# The study of each config: NAME... of docs/studies
studies() {
  local study
  for study in "$@"; do
    echo "== $study"
    "$mixgrad" study recurformer --config "$here/docs/studies/$study.toml" --out "runs/studies/$study-study" --jobs "$jobs"
  done
}
[ -e runs/studies/stories260k ] ||
  "$mixgrad" import stories260K.bin --tokenizer tok512.bin --out runs/studies/stories260k
text=(--data tinystories_train.txt --valid tinystories_valid.txt --context 256 --mlp swiglu --norm rmsnorm --sample-tokens 0)

if [ "$device" = cpu ]; then
  head -c 100000 tinystories_valid.txt >stories_valid_100k.txt
  [ -e runs/studies/story/latest ] ||
    "$mixgrad" train "${text[@]}" --tokenizer bpe:512 --layers 4 --d-model 64 --heads 8 --batch 8 --steps 3000 \
      --lr 0.003 --min-lr 0.0003 --warmup 100 --eval-every 1000 --threads 1 --out runs/studies/story
  studies story story_taught story_long stories260k
  exit
fi

text+=(--device cuda --precision bf16 --eval-every 0 --save-every 0)
for seed in 1 2 3; do
  [ -e runs/studies/story-1m-$seed/latest ] ||
    "$mixgrad" train "${text[@]}" --tokenizer bpe:1024 --layers 4 --d-model 128 --heads 8 --d-ff 344 --batch 32 \
      --steps 3000 --lr 0.003 --min-lr 0.0003 --warmup 100 --seed $seed --out runs/studies/story-1m-$seed
done
[ -e runs/studies/story-10m/latest ] ||
  "$mixgrad" train "${text[@]}" --tokenizer bpe:2048 --layers 6 --d-model 384 --heads 6 --d-ff 1024 --batch 64 \
    --steps 2500 --lr 0.001 --min-lr 0.0001 --warmup 100 --dropout 0.2 --out runs/studies/story-10m
# Seeds 2, 3, 4, 6 and 8 do not learn it in so many steps.
for seed in 1 5 7; do
  [ -e runs/studies/hashhop-$seed/latest ] ||
    "$mixgrad" train --task 'hashhop(hops=2,chains=4,letters=1,cot=true)' --layers 4 --d-model 64 --heads 4 --positions rope \
      --batch 64 --steps 16000 --lr 0.002 --min-lr 0.0001 --warmup 200 --device cuda --eval-every 0 --save-every 0 \
      --seed $seed --out runs/studies/hashhop-$seed
done
# One story a line of JSON, for stories260K, whose tokenizer has a start token of its own.
for part in train valid; do
  awk 'BEGIN { RS = "<[|]endoftext[|]>" }
    {
      gsub(/^[ \n]+|[ \n]+$/, "")
      if ($0 == "") next
      gsub(/\\/, "&&") # two for one, in every awk
      gsub(/"/, "\\\"")
      gsub(/\n/, "\\n")
      gsub(/\t/, "\\t")
      gsub(/\r/, "\\r")
      print "{\"text\": \"" $0 "\"}"
    }' "tinystories_$part.txt" >"tinystories_$part.jsonl"
done
mkdir -p runs/studies/gpu
studies gpu/story_1m_long gpu/story_1m gpu/story_1m_taught gpu/stories260k gpu/hashhop gpu/story_10m_long gpu/story_10m
