#!/usr/bin/env bash
# Opens pages of the program in headless Chromium, from file:// and with the network off, works with them as a script
# in the page would be worked with by hand, and compares what they show with --json. Without a browser it says so, and ctest
# counts it as skipped (code 77).
#   tests/browser/pages.sh PROGRAM [full]
# full: the explorers of the presets at their own width and context, and a report of five runs (some minutes).
set -euo pipefail
program=$1
size=${2:-small}
browser=$(command -v chromium || command -v chromium-browser || command -v google-chrome || true)
if [ -z "$browser" ]; then
  echo "SKIPPED: no Chromium on this machine (Debian: apt-get install chromium)"
  exit 77
fi
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# opened PAGE SCRIPT [SETTING...]: the page with SCRIPT at its end, as the browser has it when the script has run. What
# the program says with --json is in $work/program.json and stands in the page for the script.
opened() {
  local page=$1 script=$2
  shift 2
  { sed '/<\/body>/,$d' "$page" && printf '<script type="application/json" id="program">' && sed 's/</\\u003c/g' "$work/program.json" &&
    printf '</script>\n<script>\n' && cat "$script" && printf '</script>\n</body>\n</html>\n'; } >"$work/opened.html"
  # The policy of the page allows its own scripts; anything that it asks for fails, since there is no network for it.
  timeout 60 "$browser" --headless=new --no-sandbox --disable-gpu --no-first-run --disable-extensions \
    --user-data-dir="$work/profile" --host-resolver-rules="MAP * ~NOTFOUND" --virtual-time-budget=5000 \
    --enable-logging=stderr --v=0 "$@" --dump-dom "file://$work/opened.html" 2>"$work/log"
}
no_errors() { # no message of the console, no request
  if grep -E 'CONSOLE|ERR_NAME_NOT_RESOLVED|net::ERR' "$work/log"; then
    echo "FAILED: $1: the console or a request, see above"
    exit 1
  fi
}

# walked NAME PAGE SCRIPT [SETTING...]: opens the page and requires that the walk through it passed.
walked() {
  opened "${@:2}" >"$work/dom"
  no_errors "$1"
  if ! grep -q 'id="walk-result">passed<' "$work/dom"; then
    echo "FAILED: $1: $(grep -o 'id="walk-result">[^<]*' "$work/dom" || echo 'the walk through the page did not end')"
    exit 1
  fi
}
# seen NAME PAGE: contrast, names of controls and width, light and dark, on a screen and on a phone.
seen() {
  walked "$1, light, on a phone" "$2" "$here/contrast_check.js" --window-size=390,800
  walked "$1, dark" "$2" "$here/contrast_check.js" --blink-settings=preferredColorScheme=0
}

# explored NAME CHECKPOINT SCRIPT WHAT...: the page and the numbers of `mixgrad explore --checkpoint CHECKPOINT WHAT...`.
count=0
explored() {
  "$program" explore --checkpoint "$2" "${@:4}" --out "$work/explore.html" >/dev/null
  "$program" explore --checkpoint "$2" "${@:4}" --json >"$work/program.json"
  walked "explore $1" "$work/explore.html" "$3"
  count=$((count + 1))
}
trained() {
  "$program" train "${@:2}" --sample-tokens 0 --out "$work/$1" >"$work/train.log" 2>&1 || {
    cat "$work/train.log"
    echo "FAILED: the model of $1"
    exit 1
  }
}
presets=(char char-hsm char-hybrid char-mamba char-recurformer char-mixed char-shortcut shortcut10)
ended() { echo "pages: $count pages opened in $("$browser" --version 2>/dev/null), no request, no message on the console"; }

if [ "$size" = full ]; then
  for preset in "${presets[@]}"; do
    trained "$preset" --preset "$preset" --steps 30 --eval-every 10
    explored "$preset" "$work/$preset" "$here/explore_walk.js" --text "$(head -c 60 "$here/../../data/tinyshakespeare.txt")"
  done
  seen "explore" "$work/explore.html"
  five=("${presets[@]:0:5}")
  "$program" report "${five[@]/#/$work/}" --out "$work/report.html" --sample-tokens 10 >/dev/null
  echo '{}' >"$work/program.json"
  walked "report of five runs" "$work/report.html" "$here/report_walk.js"
  seen "report of five runs" "$work/report.html"
  [ "$(stat -c %s "$work/report.html")" -le 1000000 ] || {
    echo "FAILED: the report of five runs is larger than 1 MB"
    exit 1
  }
  count=$((count + 1))
  ended
  exit
fi

for form in attention hsm:scalar; do
  "$program" train --mixer "$form" --layers 1 --d-model 16 --heads 2 --context 16 --batch 2 --steps 30 --eval-every 10 \
    --log-every 1 --sample-tokens 0 --out "$work/${form%%:*}" >/dev/null 2>&1
done
"$program" report "$work/attention" "$work/hsm" --out "$work/report.html" --sample-tokens 10 >/dev/null
echo '{}' >"$work/program.json"
walked "report" "$work/report.html" "$here/report_walk.js"
cp "$work/dom" "$work/report.dom"
seen "report" "$work/report.html"
cp "$work/report.dom" "$work/dom"
# Printed, with everything open and nothing cut off at a page's edge.
timeout 60 "$browser" --headless=new --no-sandbox --disable-gpu --user-data-dir="$work/profile" --no-pdf-header-footer \
  --print-to-pdf="$work/report.pdf" "file://$work/report.html" >/dev/null 2>&1
[ "$(head -c 5 "$work/report.pdf")" = "%PDF-" ] || {
  echo "FAILED: report: it does not print"
  exit 1
}
# What the page shows at the last step is what the program says.
for run in attention hsm; do
  want=$("$program" compare "$work/$run" --format json | sed 's/.*"loss":\([0-9.]*\).*/\1/')
  want=$(printf '%.4f' "$want")
  grep -q ">$want<" "$work/dom" || {
    echo "FAILED: report: the validation loss $want of $run is not on the page"
    exit 1
  }
done

count=1
text="ROMEO: what light"
for preset in "${presets[@]}"; do
  trained "$preset" --preset "$preset" --d-model 32 --batch 2 --steps 2
  explored "$preset" "$work/$preset" "$here/explore_walk.js" --text "$text"
done
seen "explore" "$work/explore.html"
# A form without a and b: what its heads join is known, the weights are not.
trained gated --mixer "hsm:gate_single(heads=2)" --layers 2 --d-model 16 --batch 2 --steps 2
explored "of gates" "$work/gated" "$here/explore_walk.js" --text "$text"
explored "of a task" "$work/char-mixed" "$here/explore_walk.js" --task "mqar(pairs=2,vocab=32,length=16)"
# One training step, with its gradient check.
explored "--tape" "$work/char-mixed" "$here/tape_walk.js" --text "$text" --tape --check
seen "explore --tape" "$work/explore.html"
# Beyond 256 tokens neighbours share a column.
trained long --mixer "mixed(softmax=1,mamba=1)" --layers 1 --d-model 16 --context 300 --batch 2 --steps 1
explored "of 300 tokens" "$work/long" "$here/explore_walk.js" --text "$(head -c 300 "$here/../../data/tinyshakespeare.txt")"
# docs/reading_an_explorer.md
trained questions --mixer "hsm:scalar(heads=1),hsm:scalar(heads=1),mixed(softmax=1,mamba=1),attention" \
  --shortcut "0,1,2,3(hidden=16,concat=depth)" --layers 4 --heads 2 --d-model 32 --batch 2 --steps 60
explored "the ten questions" "$work/questions" "$here/questions_walk.js" --text "ROMEO: what light through yonder window breaks"

ended
