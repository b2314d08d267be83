#!/usr/bin/env python3
"""Works with the page of apps/web in headless Chromium, from file:// and with the network off, as a user would.

web_page.py PAGE [--program mixgrad] [--pictures FOLDER]

Ends with 77 and says why where there is no browser or no page of today's sources: ctest counts it as skipped. With the
program, the losses of the page are compared with its own. --pictures: also writes what is seen, as PNG.
"""

import argparse
import base64
import json
import pathlib
import subprocess
import sys
import tempfile

from devtools import Browser, find_browser

ROOT = pathlib.Path(__file__).resolve().parents[2]
HERE = pathlib.Path(__file__).resolve().parent


def skip(reason: str) -> None:
    print("SKIPPED:", reason)
    sys.exit(77)


def must(holds: bool, what: str) -> None:
    if not holds:
        raise AssertionError(what)


class Walk:
    def __init__(self, browser: Browser, page: pathlib.Path):
        self.browser = browser
        browser.screen(1200, 900)
        browser.open(page.resolve().as_uri())
        browser.until("document.getElementById('train') && !document.getElementById('train').disabled")

    def text(self, name: str) -> str:
        return self.browser.value(f"document.getElementById({json.dumps(name)}).textContent")

    def click(self, name: str) -> None:
        must(not self.browser.value(f"document.getElementById({json.dumps(name)}).disabled"), f"{name} can be pressed")
        self.browser.value(f"document.getElementById({json.dumps(name)}).click()")

    def give(self, name: str, value: str) -> None:
        self.browser.value(f"""(() => {{ const e = document.getElementById({json.dumps(name)}); e.value = {json.dumps(value)};
            if (e.value !== {json.dumps(value)}) throw new Error("{name} takes no " + {json.dumps(value)});
            e.dispatchEvent(new Event("input")); e.dispatchEvent(new Event("change")); }})()""")

    def rest(self, seconds: float = 120) -> None:
        """Until nothing is computed."""
        self.browser.until("!run.busy && !run.training", seconds)

    def problems(self) -> str:
        return self.browser.value("problems.map((p) => $(p + '-problem').textContent).filter(Boolean).join(' | ')")

    def train(self, preset: str, values: dict[str, str], seconds: float = 120) -> None:
        self.give("preset", preset)
        for name, value in values.items():
            self.give("option-" + name, value)
        self.click("train")
        self.rest(seconds)

    def trained(self, preset: str, values: dict[str, str]) -> None:
        self.train(preset, values)
        must(self.problems() == "", f"{preset} {values} trains: {self.problems()}")

    def refused(self, words: str, preset: str = "char-hsm", values: dict[str, str] | None = None) -> None:
        self.train(preset, values or {})
        must(words in self.problems(), f"an error with {words!r}; got {self.problems()!r}")


def train_and_compare(walk: Walk, program: str | None) -> float:
    walk.browser.value("$('train').focus()")
    walk.give("option-steps", "40")
    walk.give("option-warmup", "10")
    walk.browser.press("Enter")
    walk.browser.until("run.training")
    walk.rest()
    must(walk.problems() == "", f"the preset trains: {walk.problems()}")
    must("Done: step 40 of 40" in walk.text("state"), f"it ends: {walk.text('state')}")
    losses = walk.browser.value("run.losses.map((p) => p.y)")
    must(len(losses) == 40 and losses[-1] < losses[0] - 1, f"the loss falls: {losses}")
    must(walk.browser.value("run.valid.length") >= 2, "it is evaluated while it trains")
    must(len(walk.text("sample")) >= 300, "it writes a sample")
    must(walk.browser.value("document.querySelectorAll('#curves path.curve').length") == 2, "two curves")
    command = walk.browser.value("document.querySelector('#model-facts code').textContent")
    must(command == "mixgrad train --preset char-hsm --steps 40 --warmup 10 --out runs/mine", f"its command: {command}")
    if program:
        with tempfile.TemporaryDirectory() as folder:
            told = subprocess.run([program, *command.split()[1:-1], folder + "/run", "--json", "--log-every", "1"],
                                  check=True, capture_output=True, text=True).stdout
        lines = [json.loads(line) for line in told.splitlines()]
        own = {line["step"]: line["loss"] for line in lines if "step" in line and "loss" in line}
        for step, loss in enumerate(losses, start=1):
            must(abs(loss - own[step]) < 2e-3 * own[step], f"the loss of step {step} is the program's: {loss}, {own[step]}")
    return walk.browser.value("+$('state').dataset.speed")


def stop_update_continue(walk: Walk) -> None:
    walk.give("preset", "char-hsm")
    walk.click("train")
    walk.browser.until("run.training && run.step >= 12")
    walk.click("stop")
    walk.rest()
    must("Stopped: step" in walk.text("state"), "it stops")
    step = walk.browser.value("run.step")
    walk.click("one")
    walk.rest()
    must(walk.browser.value("run.step") == step + 1, "an update is one step")
    must(walk.browser.value("document.activeElement.id") == "update-next", "the keyboard is at the next stage")
    seen = [walk.text("update-stage")]
    for _ in range(4):
        walk.browser.press("Enter")
        seen.append(walk.text("update-stage"))
    must([s[0] for s in seen] == list("12345"), f"five stages: {seen}")
    must(walk.browser.value("update.after < update.loss"), "the update lowers the loss of its batch")
    must(walk.browser.value("update.parameters.every((p) => p.change > 0 && p.gradient > 0)"), "all parameters move")
    walk.click("continue")
    walk.browser.until(f"run.step >= {step + 4}")
    walk.click("stop")
    walk.rest()
    must(walk.browser.value("run.losses.every((p, i) => p.x === i + 1)"), "every step has its loss, once")


def look_inside(walk: Walk) -> None:
    walk.give("inside-text", "ROMEO: what light")
    for button, inner in (("explore", ".token"), ("step", ".position")):
        walk.click(button)
        walk.rest()
        must(walk.problems() == "", f"{button}: {walk.problems()}")
        frame = "document.querySelector('#inside iframe').contentDocument"
        walk.browser.until(f"{frame} && {frame}.querySelectorAll('{inner}').length > 0")
        if button == "explore":
            must(walk.browser.value(f"{frame}.querySelectorAll('{inner}').length") == 17, "a token for each character")
            walk.browser.value(f"{frame}.getElementById('text').focus()")
            before = walk.browser.value(f"{frame}.querySelector('.token.chosen').id")
            walk.browser.press("ArrowRight")
            must(walk.browser.value(f"{frame}.querySelector('.token.chosen').id") != before, "its keyboard works")
    walk.browser.value("$('step-check').checked = true")
    walk.give("inside-text", "ROMEO:")
    walk.click("step")
    walk.rest(240)
    must(walk.problems() == "", f"the step with its check: {walk.problems()}")
    walk.browser.until(f"{frame}.getElementById('check-result')")
    result = walk.browser.value(f"{frame}.getElementById('check-result').textContent")
    must("Passed" in result, f"the gradient check of a step: {result}")


def check_operators(walk: Walk) -> None:
    for name in ("rms_norm", "shift_mix", "selective_scan"):
        walk.give("operator", name)
        walk.click("check")
        walk.rest()
        must("all passed" in walk.text("check-state") and " 0 spoilt" not in walk.text("check-state"),
             f"the gradient check of {name}: {walk.text('check-state')}")


def bad_input(walk: Walk) -> None:
    walk.refused("must be a multiple", "char", {"d-model": "130"})
    walk.refused("--lr must be", "char-hsm", {"lr": "fast"})
    must(walk.browser.value("document.activeElement.id") == "option-lr", "the keyboard is at the wrong value")
    must(walk.browser.value("$('option-lr').ariaInvalid") == "true", "the wrong value is marked")
    walk.refused("--d-model must be an integer from 1 to 65536; got \"wide\"", "char-hsm", {"d-model": "wide"})
    walk.refused("at most 20000000 parameters", "char", {"d-model": "4096", "match": "width"})
    walk.refused("--lr must be", "char-hsm", {"lr": "-1"})
    walk.refused("--rope-theta has no effect", "char-hsm", {"rope-theta": "5"})
    walk.refused("must be finite numbers", "char-hsm", {"lr": "1000", "clip": "1000", "warmup": "0", "min-lr": "1000", "steps": "200"})
    walk.refused("tensor: at most", "char-hsm", {"batch": "1000000"})
    must("No model yet" in walk.text("state"), "a model without memory for a step is dropped")
    walk.trained("char-hsm", {"steps": "3"})
    for name, value, words in (("temperature", "-1", "--temperature must be"), ("sample-tokens", "many", "--tokens must be"),
                               ("prompt", "naïve", "ï")):
        before = walk.browser.value(f"$('{name}').value")
        walk.give(name, value)
        walk.click("write")
        walk.rest()
        must(words in walk.problems(), f"an error with {words!r}; got {walk.problems()!r}")
        walk.give(name, before)
    walk.give("inside-text", "x")
    walk.click("explore")
    walk.rest()
    must("at least 2 tokens" in walk.problems(), f"too short a text to read: {walk.problems()}")
    walk.give("inside-text", "ROMEO:")


def own_texts(walk: Walk) -> None:
    walk.give("text-choice", "own")
    for text, words in (("", "it is empty"), ("a", "at least two tokens")):
        walk.give("own-text", text)
        walk.click("own-use")
        walk.rest()
        must(words in walk.problems(), f"an error with {words!r}; got {walk.problems()!r}")
    walk.give("own-text", "a short text, too short for a context of 64")
    walk.click("own-use")
    walk.rest()
    must(walk.problems() == "", f"a short text is a text: {walk.problems()}")
    walk.refused("needs at least 64 + 1 training tokens")
    error = walk.browser.value("engine.ask({ do: 'text', text: 'a text', tokenizer: 'bpe:300' }).catch((e) => e.message)")
    must("PCRE2 and utf8proc are required" in error, f"what this build lacks is named: {error}")
    walk.give("own-text", "Größe, ≤ 3 · 日本語\n" * 60)
    for tokens in ("byte", "char"):
        walk.give("tokenizer", tokens)
        walk.rest()
        walk.trained("char-hsm", {"steps": "2", "d-model": "32"})
    must("日" in walk.text("text-facts"), "its characters are the vocabulary")
    walk.give("text-choice", "shipped")
    walk.rest()


def every_preset(walk: Walk) -> None:
    for preset in walk.browser.value("form.presets.map((p) => p.name)"):
        walk.trained(preset, {"steps": "2", "d-model": "48", "batch": "2", "context": "32"})
    walk.give("preset", "char-hsm")
    walk.give("mixer-first", "hsm:vector")
    walk.give("mixer-second", "attention")
    must(walk.browser.value("$('option-mixer').value") == "hsm:vector,attention", "a hybrid of two mixers")
    must(walk.browser.value("$('option-positions').value") == "rope", "softmax needs positions")
    walk.give("option-steps", "2")
    walk.click("train")
    walk.rest()
    must(walk.problems() == "", f"the hybrid trains: {walk.problems()}")
    must("attention" in walk.text("model-facts"), "it has layers of both")


def keyboard(walk: Walk) -> None:
    """Tab reaches every control that can be used, and each has a label. (What stands in the frame has tests of its own.)"""
    walk.browser.value("$('inside').replaceChildren(); for (const d of document.querySelectorAll('details')) d.open = true; document.activeElement.blur(); scrollTo(0, 0)")
    wanted = walk.browser.value("""[...document.querySelectorAll("a, button, input, select, textarea, summary, [tabindex]")]
        .filter((e) => !e.disabled && (e.checkVisibility() || e.className === "skip")).map((e) => e.id || e.textContent)""")
    seen = set()
    for _ in range(3 * len(wanted)):
        walk.browser.press("Tab")
        seen.add(walk.browser.value("document.activeElement.id || document.activeElement.textContent"))
    must(not set(wanted) - seen, f"Tab reaches every control; not {sorted(set(wanted) - seen)}")
    nameless = walk.browser.value("[...document.querySelectorAll('input, select, textarea')].filter((e) => e.labels.length === 0 && !e.ariaLabel).map((e) => e.id)")
    must(not nameless, f"every control has a label; not {nameless}")


def seen_everywhere(walk: Walk, pictures: pathlib.Path | None) -> None:
    script = (HERE / "contrast_check.js").read_text("utf-8")
    for name, width, scheme in (("light", 1200, "light"), ("dark", 1200, "dark"), ("phone", 390, "light")):
        walk.browser.screen(width, 900, scheme)
        walk.browser.value("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
        walk.browser.value(f"{script}; 0")
        result = walk.browser.value("(() => { const p = document.getElementById('walk-result'), t = p.textContent; p.remove(); return t; })()")
        must(result == "passed", f"{name}: {result}")
        if pictures:
            image = walk.browser.call("Page.captureScreenshot", format="png", captureBeyondViewport=True)["data"]
            (pictures / f"web-{name}.png").write_bytes(base64.b64decode(image))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("page", type=pathlib.Path)
    parser.add_argument("--program")
    parser.add_argument("--pictures", type=pathlib.Path)
    options = parser.parse_args()
    if not options.page.exists():
        skip(f"no {options.page}; scripts/web.sh builds it")
    sources = [*(ROOT / "apps/web").rglob("*.*"), *(ROOT / "apps/report/page").iterdir()]
    newest = max(sources, key=lambda path: path.stat().st_mtime)
    if newest.stat().st_mtime > options.page.stat().st_mtime:
        skip(f"{options.page} is older than {newest.relative_to(ROOT)}; scripts/web.sh builds it again")
    program = find_browser()
    if program is None:
        skip("no Chromium on this machine (Debian: apt-get install chromium)")
    with Browser(program) as browser:
        walk = Walk(browser, options.page)
        must(walk.text("made").startswith("mixgrad "), f"the engine says its version: {walk.text('made')}")
        must("1,115,394 tokens, 65 different" in walk.text("text-facts"), f"the text: {walk.text('text-facts')}")
        speed = train_and_compare(walk, options.program)
        # On two cores of a current machine 5,700; a tenth of it where others use them.
        must(speed >= 500, f"char-hsm trains at {speed:.0f} tokens a second")
        stop_update_continue(walk)
        look_inside(walk)
        check_operators(walk)
        keyboard(walk)
        seen_everywhere(walk, options.pictures)
        every_preset(walk)
        bad_input(walk)
        own_texts(walk)
        complaints = browser.complaints()
        must(not complaints, "nothing on the console, no request: " + "; ".join(complaints[:5]))
    print(f"web page: {options.page.stat().st_size / 1e6:.2f} MB, char-hsm trains at {speed:.0f} tokens a second"
          + (", the losses are the program's" if options.program else ""))


if __name__ == "__main__":
    try:
        main()
    except (AssertionError, RuntimeError, TimeoutError, EOFError) as error:
        print("FAILED:", error)
        sys.exit(1)
