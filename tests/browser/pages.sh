#!/usr/bin/env bash
# Opens pages of the program in headless Chromium, from file:// and with the network off, works with them as a script
# in the page would be worked with by hand, and compares what they show with --json. Without a browser it says so, and ctest
# counts it as skipped (code 77).
#   tests/browser/pages.sh PROGRAM
set -euo pipefail
program=$1
browser=$(command -v chromium || command -v chromium-browser || command -v google-chrome || true)
if [ -z "$browser" ]; then
  echo "SKIPPED: no Chromium on this machine (Debian: apt-get install chromium)"
  exit 77
fi
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# opened PAGE SCRIPT: the page with SCRIPT at its end, as the browser has it when the script has run.
opened() {
  { sed '/<\/body>/,$d' "$1" && printf '<script>\n' && cat "$2" && printf '</script>\n</body>\n</html>\n'; } >"$work/opened.html"
  # The policy of the page allows its own scripts; anything that it asks for fails, since there is no network for it.
  timeout 60 "$browser" --headless=new --no-sandbox --disable-gpu --no-first-run --disable-extensions \
    --user-data-dir="$work/profile" --host-resolver-rules="MAP * ~NOTFOUND" --virtual-time-budget=5000 \
    --enable-logging=stderr --v=0 --dump-dom "file://$work/opened.html" 2>"$work/log"
}
no_errors() { # no message of the console, no request
  if grep -E 'CONSOLE|ERR_NAME_NOT_RESOLVED|net::ERR' "$work/log"; then
    echo "FAILED: $1: the console or a request, see above"
    exit 1
  fi
}

for form in attention hsm:scalar; do
  "$program" train --mixer "$form" --layers 1 --d-model 16 --heads 2 --context 16 --batch 2 --steps 30 --eval-every 10 \
    --log-every 1 --sample-tokens 0 --out "$work/${form%%:*}" >/dev/null 2>&1
done
"$program" report "$work/attention" "$work/hsm" --out "$work/report.html" --sample-tokens 10 >/dev/null

# walked NAME PAGE SCRIPT: opens the page and requires that the walk through it passed.
walked() {
  opened "$2" "$3" >"$work/dom"
  no_errors "$1"
  if ! grep -q 'id="walk-result">passed<' "$work/dom"; then
    echo "FAILED: $1: $(grep -o 'id="walk-result">[^<]*' "$work/dom" || echo 'the walk through the page did not end')"
    exit 1
  fi
}

walked "report" "$work/report.html" "$here/report_walk.js"
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
for preset in char char-hsm char-hybrid char-mamba char-recurformer char-mixed char-shortcut shortcut10; do
  "$program" train --preset "$preset" --d-model 32 --steps 2 --batch 2 --sample-tokens 0 --out "$work/$preset" >/dev/null 2>&1
  "$program" explore --checkpoint "$work/$preset" --text "ROMEO: what light" --out "$work/explore.html" >/dev/null
  walked "explore $preset" "$work/explore.html" "$here/explore_walk.js"
  count=$((count + 1))
done

echo "pages: $count pages opened in $("$browser" --version 2>/dev/null), no request, no message on the console"
