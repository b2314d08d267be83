#!/usr/bin/env bash
# Makes the two pictures of README.md anew: the curves of the three schemes, and a view of the explorer.
#   scripts/pictures.sh [FOLDER]     FOLDER keeps the runs, so that they are not trained again; without it a new one in /tmp
# Needs preset cpu and Chromium; it trains four small models for 240 steps each, a minute on two cores.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
runs=${1:-$(mktemp -d)}
program=build/cpu/bin/mixgrad
browser=$(command -v chromium || command -v chromium-browser || command -v google-chrome || true)
[ -x "$program" ] || { echo "pictures.sh: $program is required: cmake --preset cpu && cmake --build --preset cpu" >&2; exit 2; }
[ -n "$browser" ] || { echo "pictures.sh: Chromium is required (Debian: apt-get install chromium)" >&2; exit 2; }
train() { # NAME PRESET
  [ -e "$runs/$1/latest" ] || "$program" train --preset "$2" --d-model 64 --batch 8 --threads 1 --steps 240 --warmup 30 --eval-every 40 \
    --log-every 20 --save-every 240 --sample-tokens 0 --out "$runs/$1"
}
train softmax char
train "shift mixing" char-hsm
train RecurFormer char-recurformer
train mixed char-mixed

out=docs/pictures
mkdir -p "$out"
"$program" report "$runs/softmax" "$runs/shift mixing" "$runs/RecurFormer" --out "$runs/report.html" --svg "$runs/svg" --sample-tokens 0
# With a white background, so that it can be read on a dark page, too.
sed 's|</style>|</style><rect width="100%" height="100%" fill="#ffffff"/>|' "$runs/svg/val.svg" >"$out/three_schemes.svg"

"$program" explore --checkpoint "$runs/mixed" --text "ROMEO: But soft, what light through yonder window breaks?" \
  --out "$runs/explore.html" --title "Softmax, Mamba and shift heads in one model"
# The view: the text, the heads of two layers, and the memory of a Mamba head.
sed '/<\/body>/,$d' "$runs/explore.html" >"$runs/view.html"
cat >>"$runs/view.html" <<'VIEW'
<script>
choose(46);
[...document.querySelectorAll(".head")].find((b) => b.textContent.includes("layer 1, head 2")).click();
document.querySelectorAll(".layer")[3].remove(); document.querySelectorAll(".layer")[2].remove();
for (const id of ["token-title", "short-title", "lens-title", "shift-title", "mamba-title", "depth-title", "numbers-title"]) document.getElementById(id)?.parentElement.remove();
for (const id of ["made", "loss", "most", "distance", "map", "fading", "steps", "kept", "selection"]) document.getElementById(id)?.remove();
for (const e of document.querySelectorAll(".buttons, .skip, .note")) if (!e.closest(".head")) e.remove();
</script></body></html>
VIEW
timeout 100 "$browser" --headless=new --no-sandbox --disable-gpu --hide-scrollbars --window-size=1000,1330 --virtual-time-budget=5000 \
  --user-data-dir="$runs/profile" --screenshot="$out/explorer.png" "file://$(realpath "$runs/view.html")" >/dev/null 2>&1
ls -l "$out"
