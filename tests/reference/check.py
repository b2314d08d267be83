"""Does this reference compute what a conformance file says?    python tests/reference/check.py FILE...

Recomputes every file from its own configuration, parameters and batches, and prints the largest |x − file| relative to
the largest |file| of each tensor, and the tensor where it is. Exit code 1 when a figure is above the tolerance.
"""

import argparse
import pathlib
import sys
import time

import torch

import case

TOLERANCE = 1e-9  # of the format; only key biases without rope come near (their gradient is zero but for rounding)


def relative_error(x, reference):
    """The largest |x − reference| over the largest |reference|; absolute when the reference is zero throughout."""
    if x is None or x.shape != reference.shape or not torch.isfinite(x).all():
        return float("inf")
    largest = float(reference.abs().max())
    error = float((x - reference).abs().max())
    return error / largest if largest > 0 else error


def check(path):
    """Returns {tensor name: error} of one file. A probe that the file lacks is no error."""
    *inputs, stored = case.read(path)
    computed = case.expected(*inputs)
    for name in computed:
        if name not in stored and not name.startswith("probe."):
            raise ValueError(f"{name} is missing")
    return {name: relative_error(computed.get(name), value) for name, value in stored.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("files", nargs="+", type=pathlib.Path)
    parser.add_argument("--tolerance", type=float, default=TOLERANCE)
    options = parser.parse_args()
    torch.set_num_threads(1)
    passed = 0
    for path in options.files:
        begin = time.monotonic()
        try:
            errors = check(path)
        except (ValueError, KeyError, OSError) as error:
            print(f"FAIL {path.stem:<28} {error}")
            continue
        worst = max(errors, key=errors.get)
        good = errors[worst] <= options.tolerance
        passed += good
        seconds = time.monotonic() - begin
        verdict = "ok  " if good else "FAIL"
        print(f"{verdict} {path.stem:<28} {errors[worst]:8.1e}  {worst:<36} {len(errors):3} tensors {seconds:5.2f} s")
    print(f"{passed} of {len(options.files)} files agree to {options.tolerance:.0e}")
    sys.exit(0 if passed == len(options.files) else 1)


if __name__ == "__main__":
    main()
