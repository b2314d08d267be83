"""The engine against this reference on random models.    python tests/reference/engine_test.py --binary MIXGRAD

Writes --count cases of --seed as generate.py does, runs `mixgrad conform` on each in float64 and float32, and prints
what disagrees with the command that writes that case again. Exit code 1 when anything does.
"""

import argparse
import json
import pathlib
import subprocess
import tempfile
import time

import torch

import case
import generate

FIGURES = ["logits", "loss", "grad", "step_losses", "after", "decode"]


def conform(binary, path, precision):
    """Returns the figures of one file, and what is wrong in one line ('' when nothing is)."""
    command = [binary, "conform", "--json", "--threads", "1", "--precision", precision, str(path)]
    done = subprocess.run(command, capture_output=True, text=True)
    try:
        result = json.loads(done.stdout)
    except ValueError:
        return {}, done.stderr.strip() or f"exit code {done.returncode} and no result"
    figures = {name: result[name] for name in FIGURES + ["probes"]}
    has_probes = any(name.startswith("probe.") for name in case.read(path)[-1])
    missing = [name for name in FIGURES + ["probes"] * has_probes if figures[name] is None]
    if missing:
        return figures, f"not compared: {', '.join(missing)}"
    if not result["pass"] or done.returncode != 0:
        return figures, " ".join(f"{name} {value:.1e}" for name, value in figures.items() if value is not None)
    return figures, ""


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--binary", required=True, help="the program mixgrad")
    parser.add_argument("--count", type=int, default=30)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--mixers", type=generate.kinds_from, default=generate.KINDS)
    parser.add_argument("--keep", type=pathlib.Path, help="folder for the files of the cases that fail")
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch_version = torch.__version__
    print(f"PyTorch {torch_version}, seed {options.seed}, {options.count} random models of {','.join(options.mixers)}")
    begin = time.monotonic()
    precisions = ["f64", "f32"]
    largest = {precision: {} for precision in precisions}
    failed = {precision: 0 for precision in precisions}
    with tempfile.TemporaryDirectory() as folder:
        for number in range(options.count):
            path, text = generate.write_case(folder, options.seed, number, options.mixers)
            complaints = {}
            for precision in precisions:
                figures, complaint = conform(options.binary, path, precision)
                if complaint:
                    complaints[precision] = complaint
                    failed[precision] += 1
                for name, value in figures.items():
                    largest[precision][name] = max(value or 0.0, largest[precision].get(name, 0.0))
            if complaints:
                report(options, number, path, text, complaints)
    for precision in precisions:
        passed = options.count - failed[precision]
        worst = " ".join(f"{name} {value:.1e}" for name, value in largest[precision].items())
        print(f"{precision}: {passed} of {options.count} agree; largest relative errors: {worst}")
    print(f"{time.monotonic() - begin:.1f} s")
    return 1 if any(failed.values()) else 0


def report(options, number, path, text, complaints):
    print(f"\nDISAGREE {path.stem}: {text}")
    for precision, complaint in complaints.items():
        print(f"  {precision}: {complaint}")
    mixers = "" if options.mixers == generate.KINDS else f" --mixers {','.join(options.mixers)}"
    again = f"--seed {options.seed} --first {number} --count 1{mixers}"
    print(f"  write it again: python tests/reference/generate.py --out FOLDER {again}", flush=True)
    if options.keep:
        options.keep.mkdir(parents=True, exist_ok=True)
        (options.keep / path.name).write_bytes(path.read_bytes())


if __name__ == "__main__":
    raise SystemExit(main())
