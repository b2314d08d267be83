"""Writes the tokenizers and ids that tests/nn/tokenizers/hugging_face_test.cpp compares with.

    python tests/reference/tokenizer_fixtures.py        needs the package `tokenizers`

For each style NAME: fixtures/NAME.json, a small tokenizer, and fixtures/NAME.ids.json: [{"text", "ids", "decoded"}].
"""

import json

import tokenizer_styles
import tokenizer_texts


def main():
    folder = tokenizer_texts.SCRIPTS.parent
    sample = tokenizer_texts.read(tokenizer_texts.SCRIPTS)
    text = tokenizer_texts.read(tokenizer_texts.ROOT / "data/tinyshakespeare.txt")[:60_000] + sample
    for name, make in tokenizer_styles.STYLES.items():
        tokenizer = make(text, 700)
        (folder / f"{name}.json").write_text(tokenizer.to_str() + "\n")
        cases = []
        for case in [sample] + list(tokenizer_texts.awkward(40, 1)):
            ids = tokenizer.encode(case, add_special_tokens=False).ids
            decoded = tokenizer.decode(ids, skip_special_tokens=False)
            cases.append({"text": case, "ids": ids, "decoded": decoded})
        lines = ",\n".join(json.dumps(case, ensure_ascii=False, separators=(",", ":")) for case in cases)
        (folder / f"{name}.ids.json").write_text("[\n" + lines + "\n]\n")


if __name__ == "__main__":
    main()
