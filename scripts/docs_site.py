#!/usr/bin/env python3
"""Builds the pages of docs/ as a site that needs no network: build/site/html/index.html.

    python3 -m venv VENV && VENV/bin/pip install mkdocs-material
    VENV/bin/python scripts/docs_site.py [PROGRAM]      default: build/cpu/bin/mixgrad

The figures are drawn by the program: small models are trained, explored and their pictures taken out of the page by
Chromium; where there is none the build fails. A page for each operator comes from `mixgrad ops --json` and its header.
Any warning of mkdocs is an error; so is a page that would fetch something from elsewhere.
"""
import html
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
SITE = ROOT / "build" / "site"
PAGES = SITE / "docs"
PROGRAM = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else ROOT / "build/cpu/bin/mixgrad").resolve()
BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
HEADLESS = ["--headless=new", "--no-sandbox", "--disable-gpu", f"--user-data-dir={SITE / 'profile'}"]
TEXT = "ROMEO: what light through yonder window"
SMALL = ["--d-model", "32", "--steps", "60", "--batch", "4", "--threads", "1", "--sample-tokens", "0"]
MODELS = {  # what is trained for the figures, and the head whose pictures are taken
    "softmax": (["--preset", "char"], "softmax"),
    "hsm": (["--mixer", "hsm:scalar(heads=1)", "--layers", "4"], "shift"),
    "mamba": (["--preset", "char-mamba"], "Mamba"),
    "shortcut": (["--mixer", "attention", "--layers", "4", "--shortcut", "0,1,2,3(hidden=16,concat=depth)"], "softmax"),
}
TAKE = """<script>
press = [...document.querySelectorAll(".head")].find((b) => b.textContent.includes("KIND")); if (press) press.click();
if (document.getElementById("path-lag")) { document.getElementById("path-lag").value = 5; drawPaths(); }
taken = {}; for (const f of document.querySelectorAll("figure")) if (f.querySelector("svg")) taken[f.id] = [f.querySelector("figcaption").textContent, svgText(f.querySelector("svg"))];
p = document.createElement("pre"); p.id = "taken"; p.textContent = JSON.stringify(taken); document.body.append(p);
</script>"""


def run(*words):
    done = subprocess.run([str(w) for w in words], capture_output=True, text=True, cwd=ROOT)
    if done.returncode != 0:
        sys.exit(f"docs_site.py: failed: {' '.join(str(w) for w in words)}\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return done.stdout


def figures(name, options, kind):
    """name of a picture -> its caption; the files stand in figures/."""
    checkpoint, page = SITE / "runs" / name, SITE / f"{name}.html"
    if not (checkpoint / "latest").exists():
        run(PROGRAM, "train", *options, *SMALL, "--out", checkpoint)
    run(PROGRAM, "explore", "--checkpoint", checkpoint, "--text", TEXT, "--out", page)
    page.write_text(page.read_text().replace("</body>", TAKE.replace("KIND", kind) + "</body>"))
    dom = run(BROWSER, *HEADLESS, "--virtual-time-budget=5000", "--dump-dom", page.as_uri())
    taken = json.loads(html.unescape(re.search(r'<pre id="taken">(.*?)</pre>', dom, re.S)[1]))
    captions = {}
    for picture, (caption, svg) in taken.items():
        (PAGES / "figures" / f"{name}_{picture}.svg").write_text(svg)
        captions[picture] = caption
    return captions


def with_figures(text, captions, depth):
    def one(match):
        name, picture = match[1].split()
        caption = captions[name][picture]
        return f"\n![{caption}]({'../' * depth}figures/{name}_{picture}.svg)\n*{caption}: a model of {' '.join(MODELS[name][0])} after 60 steps*\n"
    return re.sub(r"<!-- figure: (\w+ \w+) -->", one, text)


def within_site(text, page):
    """Links to files that are no pages of the site become names of files."""
    def one(match):
        target = match[2].split("#")[0]
        if re.match(r"https?:|mailto:", match[2]) or target == "":
            return match[0]
        place = (page.parent / target).resolve()
        if (PAGES / place.relative_to(PAGES)).exists() if place.is_relative_to(PAGES) else False:
            return match[0]
        if place.is_relative_to(PAGES.parent):
            name = place.relative_to(PAGES.parent) if not place.is_relative_to(PAGES) else "docs" / place.relative_to(PAGES)
            return f"{match[1]} (`{name}`)"
        return match[1]
    return re.sub(r"(?<!!)\[([^\]]+)\]\(([^)\s]+)\)", one, text)


def operator_pages():
    folders = {}
    listing = (ROOT / "ops/op_list.def").read_text() + (ROOT / "ops/elementwise/unary.def").read_text()
    for name, folder in re.findall(r"^OP\((\w+), (\w+)\)", listing, re.M):
        folders[name] = folder
    names = []
    for line in run(PROGRAM, "ops", "--json").splitlines():
        op = json.loads(line)
        name = op["op"]
        folder = folders.get(name, "elementwise")
        header = ROOT / "ops" / folder / f"{name}.h"
        if not header.exists():
            header = ROOT / "ops" / folder / f"{folder}.h"
        text = [f"# {name}\n", "| | |", "|---|---|"]
        for key, title in [("formula", "forward"), ("gradient", "backward"), ("saves", "saved for backward")]:
            text.append(f"| {title} | `{op[key].replace('|', chr(92) + '|')}` |")
        text += [f"\nFrom `ops/{folder}/{header.name}`:\n", "```cpp", header.read_text().replace("#pragma once\n\n", ""), "```",
                 f"\nCheck its gradient: `mixgrad gradcheck --op {name}`. Time it: `mixgrad bench op {name}`.\n"]
        (PAGES / "ops").mkdir(exist_ok=True)
        (PAGES / "ops" / f"{name}.md").write_text("\n".join(text))
        names.append(name)
    return names


def check_search():
    """The search finds something in a page opened from file:// with the network off, and the console stays silent."""
    page = SITE / "html" / "search_check.html"
    page.write_text((SITE / "html" / "index.html").read_text())
    done = subprocess.run([BROWSER, *HEADLESS, "--host-resolver-rules=MAP * ~NOTFOUND", "--virtual-time-budget=20000", "--enable-logging=stderr",
                           "--v=0", "--dump-dom", page.as_uri() + "?q=selective"], capture_output=True, text=True)
    page.unlink()
    messages = re.findall(r".*(?:CONSOLE|net::ERR).*", done.stderr)
    found = re.search(r'md-search-result__meta">\s*(\d+) matching', done.stdout)
    if messages or found is None:
        sys.exit("docs_site.py: the search of the site does not work without a network: " + "; ".join(messages[:3]))
    return int(found[1])


def title_of(page):
    return re.search(r"^# (.*)$", page.read_text(), re.M)[1].replace("`", "")


def main():
    if BROWSER is None:
        sys.exit("docs_site.py: Chromium is required for the figures (Debian: apt-get install chromium)")
    shutil.rmtree(PAGES, ignore_errors=True)
    shutil.copytree(ROOT / "docs", PAGES)
    (PAGES / "figures").mkdir()
    captions = {name: figures(name, *what) for name, what in MODELS.items()}
    names = operator_pages()
    readme = (ROOT / "README.md").read_text().replace("](docs/", "](")
    (PAGES / "index.md").write_text(readme)
    for page in PAGES.rglob("*.md"):
        text = with_figures(page.read_text(), captions, len(page.relative_to(PAGES).parts) - 1)
        if page.parent.name != "ops":
            text = within_site(text, page)
        page.write_text(text)
    (PAGES / "figures.css").write_text(".md-typeset img { background: #fff; }\n")  # figures are dark on light
    mixers = ["attention", "hsm", "recurformer", "shortcut"]
    first = ["engine", "reading_an_explorer", "reports", "tasks", "cli", "library"]
    rest = sorted(p.relative_to(PAGES) for p in PAGES.rglob("*.md") if p.parent.name not in ("mixers", "ops") and p.stem not in first + ["index"])
    nav = [{"mixgrad": "index.md"}, {"Mixers": [{title_of(PAGES / "mixers" / f"{m}.md"): f"mixers/{m}.md"} for m in mixers]}]
    nav += [{title_of(PAGES / f"{p}.md"): f"{p}.md"} for p in first]
    nav += [{"Operators": [{n: f"ops/{n}.md"} for n in names]}, {"More": [{title_of(PAGES / p): str(p)} for p in rest]}]
    config = {"site_name": "mixgrad", "docs_dir": str(PAGES), "site_dir": str(SITE / "html"), "use_directory_urls": False, "nav": nav,
              "theme": {"name": "material", "font": False, "palette": [{"media": "(prefers-color-scheme: light)", "scheme": "default"},
                        {"media": "(prefers-color-scheme: dark)", "scheme": "slate"}], "features": ["navigation.sections"]},
              "extra_css": ["figures.css"], "plugins": ["search", "offline"], "markdown_extensions": ["tables", "fenced_code", "toc"],
              "validation": {"links": {"anchors": "warn", "not_found": "warn", "absolute_links": "warn"}}}
    (SITE / "mkdocs.yml").write_text(json.dumps(config))  # JSON is YAML
    done = subprocess.run([sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--clean", "-f", str(SITE / "mkdocs.yml")],
                          capture_output=True, text=True, env={**os.environ, "NO_MKDOCS_2_WARNING": "1"})
    if done.returncode != 0 or "WARNING" in done.stderr:
        sys.exit(f"docs_site.py: mkdocs:\n{done.stdout}{done.stderr}")
    built = list((SITE / "html").rglob("*.html"))
    shutil.copy(ROOT / "scripts/docs_worker.js", SITE / "html" / "assets" / "worker.js")
    for page in built:  # the theme's own form of that script lies elsewhere
        top = "../" * (len(page.relative_to(SITE / "html").parts) - 1)
        page.write_text(re.sub(r'<script src="https://unpkg.com/iframe-worker/shim"></script>', f'<script src="{top}assets/worker.js"></script>', page.read_text()))
    for page in built:  # links may lead elsewhere, but nothing is loaded from there
        loaded = re.findall(r'(?:<(?:script|img|iframe)[^>]*\ssrc|<link[^>]*rel="?(?:stylesheet|preload|preconnect)"?[^>]*href)="?(?:https?:)?//[^"\s>]*', page.read_text())
        if loaded:
            sys.exit(f"docs_site.py: {page} loads from elsewhere: {loaded[0]}")
    print(f"docs_site.py: {len(built)} pages, {len(names)} of operators, {len(list((PAGES / 'figures').iterdir()))} figures, "
          f"search works offline ({check_search()} pages for one word): {SITE / 'html' / 'index.html'}")


if __name__ == "__main__":
    main()
