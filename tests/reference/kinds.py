"""Which mixers have a reference: compared with the engine's own lists, so that a new kind is covered or fails.

    python tests/reference/kinds.py        needs no PyTorch; exit code 1, with the names, when something is missing
"""

import pathlib
import re
import sys

LISTS = pathlib.Path(__file__).resolve().parents[2] / "nn" / "config"

# The name in mixer_kinds.def -> "mixer" in config.json. Formulas in mixers.py, keys and shapes in config.py, random
# layers in generate.py.
MIXERS = {"attention": "attention", "hsm": "hsm", "mixed_heads": "recurformer"}
# The names in hsm_variants.def.
VARIANTS = ["scalar", "vector", "matrix", "gate_single", "gate_double", "fusion"]
# Names of either list that have no reference -> why not. They are never drawn and never compared with PyTorch.
WITHOUT_REFERENCE = {}


def names_in(file, macro):
    """The first word of each line MACRO(word, ...) of a list of the engine."""
    names = re.findall(rf"^{macro}\((\w+)", (LISTS / file).read_text(), re.MULTILINE)
    if not names:
        raise ValueError(f"nn/config/{file}: no line {macro}(NAME) is left; read the new form of the list in kinds.py")
    return names


def problems():
    """What does not agree with the lists, a line each."""
    found = []
    for file, macro, covered in [
        ("mixer_kinds.def", "MIXER_KIND", list(MIXERS)),
        ("hsm_variants.def", "HSM_VARIANT", VARIANTS),
    ]:
        names = names_in(file, macro)
        for name in names:
            if name not in covered and name not in WITHOUT_REFERENCE:
                found.append(
                    f"nn/config/{file}: {name} has no reference; add it to MIXERS or VARIANTS in tests/reference/kinds.py "
                    "and to mixers.py, config.py, model.py and generate.py (tests/reference/README.md), or say in "
                    "WITHOUT_REFERENCE why it has none"
                )
        for name in covered:
            if name not in names:
                found.append(f"tests/reference/kinds.py: {name} is no longer in nn/config/{file}; remove it")
    return found


def main():
    found = problems()
    for line in found:
        print(line)
    for name, why in WITHOUT_REFERENCE.items():
        print(f"{name} has no reference: {why}")
    if not found:
        print(f"{len(MIXERS)} kinds of mixers and {len(VARIANTS)} mixings have a reference")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
