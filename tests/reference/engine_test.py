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
from check import relative_error

FIGURES = ["logits", "loss", "grad", "step_losses", "after", "decode"]


def conform(binary, path, precision):
    """Returns the figures of one file (none when they are not complete), and what is wrong in one line or ''."""
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
        return {}, f"not compared: {', '.join(missing)}"
    if not result["pass"] or done.returncode != 0:
        return figures, " ".join(f"{name} {value:.1e}" for name, value in figures.items() if value is not None)
    return figures, ""


def sensitivity(path):
    """How far the reference's own figures move when each parameter moves by up to a millionth of itself, which is
    about what float32 loses in a few dozen operations. {figure: largest of three draws}"""
    config, train, parameters, tokens, targets, window, stored = case.read(path)
    parts = {"out.logits": "logits", "out.loss": "loss", "out.step_losses": "step_losses"}
    moved = dict.fromkeys(FIGURES + ["probes"], 1e-6)
    for seed in range(3):
        random = torch.Generator().manual_seed(seed)
        nearby = {
            name: value * (1 + 1e-6 * (2 * torch.rand(value.shape, generator=random, dtype=torch.float64) - 1))
            for name, value in parameters.items()
        }
        computed = case.expected(config, train, nearby, tokens, targets, window)
        for name, value in stored.items():
            part = parts.get(name, {"probe": "probes"}.get(name.split(".")[0], name.split(".")[0]))
            moved[part] = max(moved[part], relative_error(computed[name], value))
    moved["decode"] = moved["logits"]
    return moved


def is_ill_conditioned(path, figures):
    """Is a float32 engine off by no more than the reference itself when its parameters move by a millionth? Then the
    case says nothing about the engine: AdamW turns gradients that are nearly zero into steps of any sign."""
    moved = sensitivity(path)
    return bool(figures) and all(value is None or value <= moved[name] for name, value in figures.items())


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
    ill_conditioned = 0
    with tempfile.TemporaryDirectory() as folder:
        for number in range(options.count):
            path, text = generate.write_case(folder, options.seed, number, options.mixers)
            complaints = {}
            for precision in precisions:
                figures, complaint = conform(options.binary, path, precision)
                if complaint and precision == "f32" and is_ill_conditioned(path, figures):
                    print(f"ill-conditioned in f32: {path.stem}: {text}: {complaint}", flush=True)
                    ill_conditioned += 1
                    continue
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
    if ill_conditioned:
        print(f"of those {ill_conditioned} are ill-conditioned in f32: the reference moves as far by itself")
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
