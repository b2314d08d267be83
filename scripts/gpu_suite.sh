#!/usr/bin/env bash
# Everything that is checked on a GPU, with a summary for docs/gpu_verification.md. Builds preset cuda first unless
# MIXGRAD_BINARIES names a folder with mixgrad and mixgrad_tests built elsewhere.
#   scripts/gpu_suite.sh [PARTS]     of: tests laws gradcheck conform compare faults memory curves forms speed resume
# One process at a time: processes share a GPU by slices of time, and a test that waits for each of its small kernels waits
# for the others' slices too. With three side by side a row of gradcheck took 470 ms, alone 20 (H200, 2026-11-30).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

if [ -z "${MIXGRAD_BINARIES:-}" ]; then
  cmake --preset cuda -DMIXGRAD_REQUIRE_CUDA=ON --log-level=NOTICE
  cmake --build --preset cuda
fi
bin=${MIXGRAD_BINARIES:-build/cuda/bin}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export MIXGRAD_DEVICE=cuda OMP_WAIT_POLICY=passive
text=(--data data/tinyshakespeare.txt)
failed=0
say() { printf '%-10s %s\n' "$part" "$*"; }
bad() {
  say "FAILED: $*"
  failed=1
}
json() { sed -n "s/.*\"$1\":\([^,}]*\).*/\1/p"; }
train() { "$bin"/mixgrad train "${text[@]}" --device cuda --json "$@" 2>"$work/log"; }

# The tests of these files, of mixgrad_tests; what fails is shown.
run_tests() { # PATTERN[,PATTERN...]
  local log=$work/$part.log
  if "$bin"/mixgrad_tests --source-file="$1" >"$log" 2>&1; then
    say "$(grep -a 'test cases:' "$log" | tail -1)"
  else
    bad "$(grep -a 'test cases:' "$log" | tail -1)"
    grep -a -B1 -A12 'TEST CASE' "$log" | head -80
  fi
}

# The tests that run on the device under test.
part_tests() {
  local themes='*attention_implementations_test*,*scan_implementations_test*,*conformance_test*,*decoder_laws_test*,*graph_trainer_test*'
  themes+=',*op_test*,*op_gradient_test*,*op_large_test*,*nonfinite_test*,*step_graph_test*,*matmul_choices_test*'
  themes+=',*attention_step_test*,*matvec_test*,*linear_cross_entropy_test*,*normed_linear_test*,*heads_linear_test*'
  themes+=',*mamba_step_test*,*normed_shift_mix_test*,*token_draw_test*,*generator_test*'
  themes+=',*optimizer_device_test*,*accumulate_test*,*two_contexts_test*,*foreign_operator_test*,*tape_error_test*'
  run_tests "$themes,*bf16_test*,*device_check_test*"
}

# Every law of every form of mixer.
part_laws() { run_tests '*mixer_laws_test*'; }

part_gradcheck() {
  "$bin"/mixgrad gradcheck --device cuda --dtype f64,f32,bf16 >"$work/gradcheck" 2>&1 || bad "see below"
  tail -45 "$work/gradcheck"
}

part_conform() {
  for precision in f64 f32 bf16; do
    "$bin"/mixgrad conform tests/conformance/*.safetensors --device cuda --precision "$precision" >"$work/out" 2>&1 ||
      bad "$precision"
    say "$(tail -1 "$work/out")"
    grep FAIL "$work/out" || true
  done
}

# Each kernel of every conformance case beside the CPU's, on the same arguments.
part_compare() {
  for precision in f64 f32 bf16; do
    "$bin"/mixgrad conform tests/conformance/*.safetensors --device check --precision "$precision" >"$work/out" 2>&1 ||
      bad "$precision: $(tail -1 "$work/out")"
    say "--device check, $precision: $(tail -1 "$work/out")"
  done
}

# The N-th CUDA call of a run fails: a clear error, code 4 or 1, and the checkpoint that stood before still loads.
part_faults() {
  local n count=0 wrong=0
  train --preset char --layers 1 --d-model 32 --batch 2 --steps 4 --out "$work/before" --save-every 2 >/dev/null
  for n in 1 2 3 5 8 13 21 34 55 89 144 233 377 610 987 1300 1597; do
    rm -rf "$work/fault"
    local code=0
    MIXGRAD_FAULT=cuda:$n train --resume "$work/before/step-2" --out "$work/fault" >/dev/null || code=$?
    [ "$code" = 0 ] && break # more calls than the run has
    count=$((count + 1))
    if [ "$code" -ge 128 ] || ! grep -aq 'asked to fail by MIXGRAD_FAULT' "$work/log"; then
      wrong=$((wrong + 1))
      say "call $n: code $code: $(tail -1 "$work/log")"
    fi
    "$bin"/mixgrad eval --checkpoint "$work/before" "${text[@]}" >/dev/null 2>&1 || bad "the checkpoint after call $n"
  done
  say "$count failing CUDA calls, each ended with an error that names it; $wrong not; the checkpoint stood"
  [ "$wrong" = 0 ] || bad "$wrong"
}

# More than the device has: the pool's message, exit code 4, and the checkpoint that stood before still loads.
part_memory() {
  local code=0
  train --preset char --layers 1 --steps 2 --out "$work/small" >/dev/null
  train --checkpoint "$work/small" --steps 4 --batch 1000000 --out "$work/much" >/dev/null || code=$?
  say "code $code: $(tail -1 "$work/log")"
  [ "$code" = 4 ] || bad "code $code, not 4"
  grep -q 'out of memory on cuda.*asked for.*the largest:.*try a smaller' "$work/log" || bad "the message"
  "$bin"/mixgrad eval --checkpoint "$work/small" "${text[@]}" >/dev/null 2>&1 || bad "the checkpoint"
}

# bf16 and f32 learn alike: three seeds of the preset char, and one of a larger model.
part_curves() {
  local precision seed
  for precision in f32 bf16; do
    local losses=""
    for seed in 1 2 3; do
      train --preset char --precision "$precision" --seed "$seed" --eval-every 0 --out "$work/$precision-$seed" \
        >"$work/out" || bad "$precision, seed $seed"
      losses+=" $(tail -1 "$work/out" | json val_loss)"
    done
    say "char, $precision, validation loss at seeds 1, 2, 3:$losses"
  done
  for precision in f32 bf16; do
    train --layers 6 --d-model 384 --heads 6 --context 256 --positions learned --batch 64 --steps 800 --warmup 80 \
      --lr 1e-3 --precision "$precision" --eval-every 0 --out "$work/large-$precision" >"$work/out" || bad "large $precision"
    say "6 layers, 384 wide, context 256, batch 64, 800 steps, $precision: validation loss $(tail -1 "$work/out" | json val_loss)"
  done
}

# Every model form trains for 200 steps with a falling loss.
part_forms() {
  local pattern count=0
  while read -r pattern; do
    local mixer=${pattern%%;*} more=()
    [ "$mixer" = "$pattern" ] || more=(--shortcut "${pattern#*;}")
    rm -rf "$work/form"
    if ! train --layers 4 --d-model 64 --heads 4 --batch 16 --steps 200 --log-every 20 --eval-every 0 --precision bf16 \
      --lr 3e-3 --warmup 20 --mixer "$mixer" "${more[@]}" --out "$work/form" >"$work/out"; then
      bad "$pattern: $(tail -1 "$work/log")"
      continue
    fi
    local first last
    first=$(head -1 "$work/out" | json loss)
    last=$(tail -1 "$work/out" | json loss)
    awk -v a="$first" -v b="$last" 'BEGIN {exit !(b < a - 0.2)}' || bad "$pattern: loss $first to $last"
    count=$((count + 1))
  done <<'FORMS'
attention
attention(kv_heads=2)
hsm:scalar
hsm:vector(heads=4)
hsm:matrix(heads=4)
hsm:gate_single(heads=4)
hsm:gate_double(heads=4)
hsm:fusion(heads=4)
hsm:scalar,hsm:scalar,attention
recurformer(fraction=0.5,expand=1)
mamba
mixed(softmax=2,mamba=1,shift=1)
attention;1,2(hidden=64)
attention;1,2(hidden=64,concat=feature)
attention;1,2(hidden=64,concat=depth)
hsm:scalar,mamba,mixed(softmax=2,shift=2),attention;0,1,2(hidden=64)
FORMS
  say "$count of 16 model forms trained 200 steps in bf16 with a falling loss"
}

part_speed() {
  local precision name flags ms
  # 6x384: the larger of the two sizes at which peers were measured
  nvidia-smi --query-gpu=name,driver_version --format=csv,noheader
  while read -r name flags; do
    for precision in bf16 f32; do
      # shellcheck disable=SC2086  # flags are several words
      ms=$("$bin"/mixgrad bench train "${text[@]}" --device cuda $flags --precision "$precision" --rounds 200 --json \
        2>"$work/log" | json ms_per_step) || bad "$name $precision: $(tail -1 "$work/log")"
      say "$(printf '%-12s %-5s %8.3f ms a step' "$name" "$precision" "$ms")"
    done
  done <<'MODELS'
char --preset char --positions learned --batch 12
char-hsm --preset char-hsm --batch 12
char-mamba --preset char-mamba --batch 12
gpt-6x384 --layers 6 --d-model 384 --heads 6 --context 256 --positions learned --batch 64
hsm-6x384 --layers 6 --d-model 384 --heads 6 --context 256 --mixer hsm:scalar --batch 64
MODELS
  # Tokens one by one: of the last tenth of the sequence, the ring of keys is full then.
  while read -r name flags; do
    for precision in bf16 f32; do
      # shellcheck disable=SC2086
      ms=$("$bin"/mixgrad bench decode "${text[@]}" --device cuda $flags --precision "$precision" --tokens 3000 --json \
        2>"$work/log" | tail -1 | json us_per_token) || bad "$name $precision: $(tail -1 "$work/log")"
      say "$(printf '%-12s %-5s %8.1f us a token' "$name" "$precision" "$ms")"
    done
  done <<'MODELS'
char --preset char
char-hsm --preset char-hsm
char-mamba --preset char-mamba
char-mixed --preset char-mixed
char-shortcut --preset char-shortcut
gpt-6x384 --layers 6 --d-model 384 --heads 6 --context 256
gpt-2048 --layers 6 --d-model 384 --heads 6 --context 2048
MODELS
}

# A run that changes device in the middle continues, and the same run twice gives the same bytes.
part_resume() {
  train --preset char --steps 40 --save-every 20 --eval-every 0 --out "$work/whole" >/dev/null
  train --preset char --steps 40 --save-every 20 --eval-every 0 --out "$work/again" >/dev/null
  cmp "$work/whole/step-40/model.safetensors" "$work/again/step-40/model.safetensors" || bad "two runs differ"
  train --resume "$work/whole/step-20" --out "$work/rest" >/dev/null
  cmp "$work/whole/step-40/model.safetensors" "$work/rest/step-40/model.safetensors" || bad "resumed differs"
  local run choices=()
  for run in whole/step-20 rest/step-40; do choices+=("$(sed -n '/"matmul"/,/^  }/p' "$work/$run/trainer.json")"); done
  [ "${choices[0]}" = "${choices[1]}" ] || bad "a resumed run has chosen other products"
  say "$(grep -c '"[0-9a-f]\{128\}"' <<<"${choices[0]}") kinds of products timed once, kept and taken by --resume"
  "$bin"/mixgrad train "${text[@]}" --device cpu --resume "$work/whole/step-20" --stop-after 30 --out "$work/cpu" \
    --json >/dev/null 2>&1 || bad "CUDA to CPU"
  train --resume "$work/cpu" --out "$work/back" >"$work/out" || bad "CPU to CUDA"
  say "the same bytes twice and after --resume; from CUDA to the CPU and back: loss $(tail -1 "$work/out" | json loss)," \
    "on CUDA throughout $(tail -1 "$work/whole/metrics.jsonl" | json loss)"
}

[ "$#" -gt 0 ] || set -- tests laws gradcheck conform compare faults memory resume forms curves speed
for part in "$@"; do
  start=$SECONDS
  "part_$part"
  say "took $((SECONDS - start)) s"
done
if [ "$failed" != 0 ]; then
  echo "GPU suite: FAILED"
  exit 1
fi
echo "GPU suite: all parts passed"
