#!/usr/bin/env bash
# One recipe from raw file to sample: prepares the data, trains, evaluates, and writes a sample.
#   recipes/run.sh RECIPE VARIANT DATA OUT [OPTIONS of mixgrad train]
#   recipes/run.sh abc softmax ~/data runs
#   recipes/run.sh abc all ~/data runs --threads 1
#   recipes/run.sh stories-char recurformer ~/data runs --device cuda --precision bf16
# RECIPE: a file of this folder without .toml. VARIANT: softmax, hsm, recurformer, shortcut, or all of them in turn.
# DATA: the folder with text/, music/ and speech/ (recipes/README.md). OUT: where runs go, OUT/RECIPE/VARIANT.
# With --device cuda the file of recipes/gpu/ is taken. MIXGRAD names the program, without it that of build/cuda or
# build/cpu, or that of PATH. Nothing else is needed: bash, coreutils, awk, this folder, the program and the data.
# The last line of each variant is one JSON object: recipe, variant, device, minutes, steps, parameters, what eval says.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
die() {
  echo "run.sh: $*" >&2
  exit 2
}
if [ $# -lt 4 ]; then
  sed -n '3,6p' "${BASH_SOURCE[0]}" | sed 's/^# *//' >&2
  die "RECIPE, VARIANT, DATA and OUT are required"
fi
recipe=$1 variant=$2 data=$3 out=$4
shift 4
options=("$@")

device=cpu
for ((i = 0; i < ${#options[@]}; ++i)); do
  case ${options[i]} in
    --device) device=${options[i + 1]:-cpu} ;;
    --device=*) device=${options[i]#--device=} ;;
  esac
done
recipes=$(cd "$here" && printf '%s ' *.toml)
[ -f "$here/$recipe.toml" ] || die "no recipe $recipe; there are ${recipes//.toml/}"
config=$here/$recipe.toml
case $device in cuda*) config=$here/gpu/$recipe.toml ;; esac

mixgrad=${MIXGRAD:-}
candidates=("$here/../build/cpu/bin/mixgrad" "$(command -v mixgrad || true)")
case $device in cuda*) candidates[0]=$here/../build/cuda/bin/mixgrad ;; esac
for candidate in "${candidates[@]}"; do
  if [ -z "$mixgrad" ] && [ -x "$candidate" ]; then mixgrad=$candidate; fi
done
[ -n "$mixgrad" ] || die "no program mixgrad; build it, or name it in MIXGRAD"

value_of() { sed -n "s/^$1 *= *//p" "$config"; }
layers=$(value_of layers) heads=$(value_of heads) is_task=$(value_of task)

# What a variant puts in place of softmax layers; as many parameters where the recipe says match = "params".
mixer_options() {
  local list
  case $1 in
    softmax) mixer=(--mixer attention) ;;
    hsm) mixer=(--mixer "hsm:scalar(heads=$heads),attention") ;;
    recurformer)
      mixer=(--mixer "recurformer(fraction=0.5,expand=1)")
      if [ "$heads" = 1 ]; then mixer+=(--heads 2); fi # one head cannot be half Mamba
      ;;
    shortcut) # the layers below the last, or every second of them
      if [ "$layers" -gt 4 ]; then list=$(seq -s, 2 2 $((layers - 1))); else list=$(seq -s, 1 $((layers - 1))); fi
      mixer=(--mixer attention --shortcut "$list(hidden=128)")
      ;;
    *) die "no variant $1; there are softmax, hsm, recurformer, shortcut and all" ;;
  esac
  # A recall task needs the shifted part at full size from the start (docs/tasks.md).
  if [ "$1" = hsm ] && [ -n "$is_task" ]; then mixer+=(--hsm-scale 0.7071); fi
}

# The raw files of a recipe, and how a sample is taken of its models.
train_file="" valid_file="" sample=()
case $recipe in
  stories-*)
    train_file=$data/text/tinystories_train.txt valid_file=$data/text/tinystories_valid.txt
    sample=(--prompt "Once upon a time" --tokens 400)
    ;;
  wikipedia-char)
    train_file=$data/text/text8style_train.txt valid_file=$data/text/text8_head.txt
    sample=(--prompt "the " --tokens 400)
    ;;
  wikitext-bpe)
    train_file=$data/text/wikitext2raw_train_part.txt valid_file=$data/text/wikitext103_valid.txt
    sample=(--prompt " The" --tokens 150)
    ;;
  piano)
    train_file=$data/music/asap_piano_train.u16 valid_file=$data/music/asap_piano_valid.u16
    sample=(--prompt 388 --tokens 1500 --out mid)
    ;;
  abc)
    train_file=$data/music/nottingham_train.abc valid_file=$data/music/nottingham_valid.abc
    sample=(--prompt "X:" --tokens 600 --out abc)
    ;;
  digits)
    train_file=$data/speech/fsdd_mulaw8k_train.u8 valid_file=$data/speech/fsdd_mulaw8k_valid.u8
    sample=(--prompt 128 --tokens 16000 --rate 8000 --out wav)
    ;;
esac
for file in ${train_file:+"$train_file" "$valid_file"}; do
  [ -f "$file" ] || die "$file is not there; recipes/README.md says what DATA holds"
done
folder=$out/$recipe
mkdir -p "$folder"
if [ "$recipe" = digits ]; then # the first 400,000 samples, as the n-gram baselines have it
  if [ ! -e "$folder/valid.u8" ]; then # in one piece, for variants that run side by side
    head -c 400000 "$valid_file" >"$folder/valid.u8.$$"
    mv "$folder/valid.u8.$$" "$folder/valid.u8"
  fi
  valid_file=$folder/valid.u8
fi
sources=()
if [ -n "$train_file" ]; then sources=(--data "$train_file" --valid "$valid_file"); fi
tokenizer=$(sed -n 's/^#! *tokenizer *= *//p' "$config")
if [ -n "$tokenizer" ]; then # byte pairs are learned once, and the text encoded once for all variants
  if [ ! -d "$folder/data-$tokenizer" ]; then
    "$mixgrad" data prepare "$train_file" --valid "$valid_file" --tokenizer "$tokenizer" \
      --out "$folder/data-$tokenizer" >&2
  fi
  sources=(--data "$folder/data-$tokenizer")
fi

# A recipe may train on an easier form of its task first, and then on the task itself from the weights of that run: the
# line `#! first =` has the options of train that differ in the easier form. An option on the command line counts for
# both runs; one that decides the model, for the first alone, since the second has the model of its weights.
first=()
read -ra easier <<<"$(sed -n 's/^#! *first *= *//p' "$config")"
[ $((${#easier[@]} % 2)) = 0 ] || die "the options behind #! first = must be pairs of --NAME and VALUE; got ${easier[*]}"
for ((i = 0; i < ${#easier[@]}; i += 2)); do
  case " ${options[*]:-} " in *" ${easier[i]} "* | *" ${easier[i]}="*) continue ;; esac
  first+=("${easier[@]:i:2}")
done
of_model='tokenizer|vocab|mixer|shortcut|layers|d-model|heads|kv-heads|context|d-ff|match|mlp|norm|norm-eps|positions'
of_model+='|rope-theta|bias|tie|hsm-scale|preset'
# The config and the options of the second run.
config_of_rest() { grep -Ev "^($of_model) *=" "$config"; }
options_of_rest=()
for ((i = 0; i < ${#options[@]}; ++i)); do
  if [[ ${options[i]} =~ ^--($of_model)$ ]]; then
    i=$((i + 1)) # and its value
  elif ! [[ ${options[i]} =~ ^--($of_model)= ]]; then
    options_of_rest+=("${options[i]}")
  fi
done

run() {
  local to=$folder/$1 begin minutes no_sample=() how=("${sample[@]}") begins_with with=("${options[@]}")
  mixer_options "$1"
  if [ -z "$is_task" ]; then no_sample=(--sample-tokens 0); fi
  begins_with=(--config "$config" "${mixer[@]}")
  begin=$(date +%s.%N)
  : >"$to.log"
  if [ ${#first[@]} -gt 0 ]; then
    "$mixgrad" train "${begins_with[@]}" "${first[@]}" "${options[@]}" --out "$to-first" 2>&1 | tee "$to.log" >&2
    config_of_rest >"$to.toml"
    begins_with=(--config "$to.toml" --checkpoint "$to-first")
    with=("${options_of_rest[@]}")
  fi
  "$mixgrad" train "${begins_with[@]}" "${sources[@]}" "${with[@]}" "${no_sample[@]}" --out "$to" 2>&1 |
    tee -a "$to.log" >&2
  minutes=$(echo "$begin $(date +%s.%N)" | awk '{printf "%.2f", ($2 - $1) / 60}')
  "$mixgrad" eval --checkpoint "$to/best" --device "$device" --json >"$to.json"
  if [ ${#how[@]} -gt 0 ]; then
    case ${how[-1]} in
      mid | abc | wav)
        rm -f "$to.${how[-1]}"
        how[-1]=$to.${how[-1]}
        ;;
    esac
    "$mixgrad" generate --checkpoint "$to/best" --device "$device" --temperature 0.9 "${how[@]}" | tee "$to.txt" >&2
  fi
  printf '{"recipe": "%s", "variant": "%s", "device": "%s", "minutes": %s, ' "$recipe" "$1" "$device" "$minutes"
  printf '"steps": %s, "parameters": %s, "eval": %s}\n' \
    "$(tail -1 "$to/metrics.jsonl" | sed "s/.*\"step\": *\([0-9]*\).*/\1/")" \
    "$(sed -n '/^model: [0-9]* parameters/{s/^model: \([0-9]*\) .*/\1/p;q}' "$to.log")" "$(head -1 "$to.json" | sed 's/,"by_position".*/}/')"
}
variants=("$variant")
if [ "$variant" = all ]; then variants=(softmax hsm recurformer shortcut); fi
for one in "${variants[@]}"; do run "$one"; done
