#!/usr/bin/env python3
"""Writes the page mixgrad.html: template, style, scripts, WebAssembly module and text in one file.

assemble.py --module mixgrad_web.wasm --text tinyshakespeare.txt --out mixgrad.html FILES...

FILES are the sources of the page; each is known by its name. Module and text are compressed (gzip) and stand in the page in
base64; the page's worker unpacks them.
"""

import argparse
import base64
import gzip
import pathlib
import re


def packed(path: str) -> str:
    data = gzip.compress(pathlib.Path(path).read_bytes(), compresslevel=9, mtime=0)  # the same input, the same page
    return base64.b64encode(data).decode("ascii")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--module", required=True)
    parser.add_argument("--text", required=True)
    parser.add_argument("--out", required=True)
    parser.add_argument("files", nargs="+")
    options = parser.parse_args()
    texts = {pathlib.Path(name).name: pathlib.Path(name).read_text("utf-8") for name in options.files}
    for name, text in texts.items():
        if name.endswith(".js") and "</script" in text:
            parser.error(f"{name} must not contain </script, which ends the element that it stands in")
    values = {
        "STYLE": texts["report.css"] + texts["web.css"],
        "SCRIPT": texts["picture.js"] + texts["curves.js"] + texts["web.js"],
        "WORKER": texts["worker.js"],
        "MODULE": packed(options.module),
        "TEXT": packed(options.text),
    }
    # In one pass: what is put in is not searched.
    page = re.sub("@(STYLE|SCRIPT|WORKER|MODULE|TEXT)@", lambda found: values[found[1]], texts["web.html"])
    out = pathlib.Path(options.out)
    scratch = out.with_suffix(".tmp")
    scratch.write_text(page, "utf-8")
    scratch.replace(out)
    print(f"{out}: {out.stat().st_size} bytes")


if __name__ == "__main__":
    main()
