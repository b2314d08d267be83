"""Texts for comparing tokenizers: many scripts, code, random code points, short awkward ones."""

import pathlib
import random
import unicodedata

import tokenizer_styles

ROOT = pathlib.Path(__file__).resolve().parents[2]
SCRIPTS = ROOT / "tests/nn/tokenizers/fixtures/scripts.txt"
UNICODE = "14.0.0"  # of Debian 12's PCRE2 and of Python 3.11


def read(path):
    return pathlib.Path(path).read_bytes().decode("utf-8", "replace")


def shipped():
    """English and program text that every checkout has."""
    code = [read(path) for folder in ("nn", "ops", "core", "apps") for path in sorted((ROOT / folder).rglob("*.[ch]*"))]
    # The spelling of a byte may become the token of that byte, which is no text.
    return (read(ROOT / "data/tinyshakespeare.txt") + "".join(code)).replace("<0x", "< 0x")


def scripts(size, seed):
    """Words and lines of the sample text in random order, with random blanks and marks."""
    lines = read(SCRIPTS).splitlines()
    draw = random.Random(seed)
    out, length = [], 0
    blanks = [" "] * 20 + ["  ", "   ", "\n", "\n\n", "\t", " \n", "\r\n", "\u00a0", "\u3000", "\u2009", "\u0085"]
    while length < size:
        line = draw.choice(lines)
        if draw.random() < 0.3:
            words = line.split(" ")
            draw.shuffle(words)
            line = "".join(word + draw.choice(blanks) for word in words)
        out.append(line + draw.choice(["\n", " ", "\n\n", ""]))
        length += len(out[-1].encode())
    return "".join(out)


def assigned():
    """Code points that Unicode 14 assigns. U+180E apart: it was a blank until Unicode 6.3."""
    if unicodedata.unidata_version != UNICODE:
        return []
    return [c for c in range(0x110000) if unicodedata.category(chr(c)) not in ("Cn", "Cs") and c != 0x180E]


def code_points(size, seed):
    """Random code points, every one at least once when there is room, in runs of random length."""
    codes = assigned()
    draw = random.Random(seed)
    order = codes[:]
    draw.shuffle(order)
    out = [chr(c) for c in order]
    length = len("".join(out).encode())
    common = [" ", "\n", "a", "B", "1", "'s", "e", "\u0301", "=", "\u0338", "\u1100", "\u1161", "\u11a8"]
    while codes and length < size:
        if draw.random() < 0.2:
            first = draw.choice(codes)
            run = [chr(c) for c in range(first, first + draw.randrange(1, 9)) if 0xD800 > c or c > 0xDFFF]
            run = [c for c in run if unicodedata.category(c) != "Cn" and c != "\u180e"]
        else:
            run = [chr(draw.choice(codes)), draw.choice(common)]
        out += run
        length += len("".join(run).encode())
    return "".join(out)


def awkward(count, seed):
    """Short texts of added tokens, blanks, letters and marks: what stands at the ends of a text counts there."""
    draw = random.Random(seed)
    parts = list(tokenizer_styles.ADDED) + ["<s>", "</s>", "<unk>", "<|endoftext|>", "<|im_end|>", "\u2581", "<0x41>"]
    parts += ["a", "b", "the", " the", "é", "e\u0301", "caf", " ", " ", "  ", "\n", "\t", "1", "234", ".", "_", "漢", "字"]
    parts += ["\u00df", "\u0301", "\u200d", "😀", "'s", "'LL", "\u3000", "-", "\u24b6", "١", "क्ष", "\u00b2"]
    yield ""
    for part in parts:
        yield part
    for _ in range(count):
        yield "".join(draw.choice(parts) for _ in range(draw.randrange(1, 12)))
