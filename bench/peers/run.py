#!/usr/bin/env python3
"""Ours beside PyTorch, interleaved: one table of training steps, and JSON.

    python3 bench/peers/run.py                      on a GPU machine: rows of docs/performance_gpu.md
    python3 bench/peers/run.py --device cpu         the same on two CPU cores, with rows of that size
    python3 bench/peers/run.py --rows gpt2,char --rounds 5 --json peers.json

Before anything is timed, both sides compute the loss of the same weights on the same tokens in f32; a row whose losses
differ by more than 1e-4 ends the run. Then come rounds: ours, then each way of running PyTorch (eager; compile; graph:
compile with the whole step in one CUDA graph). A figure is the median over rounds, the spread is (largest - smallest) /
median, the ratio is ours / the best of PyTorch. Needs torch, numpy and safetensors; ours must be built (--binary).
"""
import argparse
import json
import pathlib
import random
import shlex
import statistics
import struct
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]

GPT2 = "--layers 12 --d-model 768 --heads 12 --context 1024 --positions learned --bias true --vocab 50304"
CHAR = "--layers 6 --d-model 384 --heads 6 --context 256 --positions learned --bias true --vocab 65"
H1 = "--layers 8 --d-model 256 --heads 8 --context 128 --vocab 5000"
H2 = "--layers 8 --d-model 512 --heads 8 --context 512 --vocab 50304"
# name: (options of the model, batch, precision)
GPU_ROWS = {
    "gpt2": (GPT2, 32, "bf16"),
    "gpt2-350m": (GPT2.replace("12", "24", 1).replace("768", "1024").replace("--heads 12", "--heads 16"), 16, "bf16"),
    "gpt2-tf32": (GPT2, 16, "tf32"),
    "char": (CHAR, 64, "bf16"),
    "tiny": ("--layers 4 --d-model 128 --heads 4 --context 64 --vocab 65", 12, "bf16"),
    "h1": (H1, 128, "bf16"),
    "h1-hsm": (H1 + " --mixer hsm:scalar", 128, "bf16"),
    "h1-gate": (H1 + " --mixer hsm:gate_single", 128, "bf16"),
    "h2": (H2, 64, "bf16"),
    "h2-hsm": (H2 + " --mixer hsm:scalar", 64, "bf16"),
    "h2-gate": (H2 + " --mixer hsm:gate_single", 64, "bf16"),
    "char-shortcut": (CHAR + " --shortcut '1,2,3,4,5(hidden=384)'", 64, "bf16"),
    "gpt2-shortcut": (GPT2 + " --shortcut '2,4,6,8,10(hidden=768)'", 8, "bf16"),
}
CPU_ROWS = {
    "char": ("--layers 4 --d-model 128 --heads 4 --context 64 --positions learned --vocab 65", 12, "f32"),
    "char-hsm": ("--layers 4 --d-model 128 --context 64 --mixer hsm:scalar --vocab 65", 12, "f32"),
    "char-shortcut": ("--layers 4 --d-model 128 --heads 4 --context 64 --positions learned --vocab 65 "
                      "--shortcut '1,2,3(hidden=128)'", 12, "f32"),
    "baby": ("--layers 6 --d-model 384 --heads 6 --context 256 --positions learned --vocab 65", 8, "f32"),
}


def option(flags, name):
    words = shlex.split(flags)
    return words[words.index(name) + 1]


def tokens_file(path, vocabulary, count):
    """Ids with the frequencies of a text: the rank of an id falls by a power law."""
    draw = random.Random(1)
    ids = [min(int(draw.paretovariate(0.6)) - 1, vocabulary - 1) for _ in range(count)]
    ids[0] = vocabulary - 1
    path.write_bytes(struct.pack(f"<{count}H", *ids))


class Ours:
    def __init__(self, args, row, work):
        self.flags, self.batch, self.precision = row
        self.args, self.work = args, work
        self.timed_tokens, self.eval_tokens = work / "timed.u16", work / "eval.u16"
        vocabulary, context = int(option(self.flags, "--vocab")), int(option(self.flags, "--context"))
        tokens_file(self.timed_tokens, vocabulary, max(4 * self.batch * (context + 1), 1 << 17))
        tokens_file(self.eval_tokens, vocabulary, 8 * context + 1)

    def call(self, *words):
        command = [*self.args.prefix, self.args.binary, *words, "--device", self.args.device]
        if self.args.device == "cpu":
            command += ["--threads", str(self.args.threads)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            sys.exit(f"{shlex.join(command)} ended with {done.returncode}: {done.stderr.strip()}")
        return done.stdout

    def checkpoint(self):
        """The initial weights: one step with a learning rate of 0."""
        run = self.work / "run"
        self.call("train", *shlex.split(self.flags), "--data", str(self.timed_tokens), "--valid", "none", "--steps", "1",
                  "--lr", "0", "--warmup", "0", "--schedule", "constant", "--batch", "1", "--sample-tokens", "0", "--out",
                  str(run))
        return next(run.glob("step-*"))

    def loss(self, checkpoint):
        text = self.call("eval", "--checkpoint", str(checkpoint), "--data", str(self.eval_tokens), "--split", "all",
                         "--precision", "f32", "--json")
        return json.loads(text)["loss"]

    def time(self, steps):
        precision = {"bf16": ["--precision", "bf16"], "tf32": ["--matmul-precision", "high"], "f32": []}[self.precision]
        text = self.call("bench", "train", *shlex.split(self.flags), "--data", str(self.timed_tokens), "--valid", "none",
                         "--batch", str(self.batch), "--rounds", str(steps), "--json", *precision)
        result = json.loads(text)
        return {"ms": result["ms_per_step"], "peak_bytes": result["peak_bytes"]}


class Torch:
    def __init__(self, args, row, checkpoint, mode):
        self.name = f"torch {mode}"
        command = [*args.prefix, sys.executable, str(HERE / "torch_step.py"), str(checkpoint), "--device", args.device,
                   "--mode", mode, "--precision", row[2], "--batch", str(row[1]), "--threads", str(args.threads)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, **request):
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            sys.exit(f"{self.name} ended with {self.process.wait()}; its error is above")
        return json.loads(line)

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def summary(samples):
    times = [sample["ms"] for sample in samples]
    middle = statistics.median(times)
    return {"ms": middle, "spread": (max(times) - min(times)) / middle, "peak_bytes": samples[-1]["peak_bytes"]}


def measure(args, name, row):
    with tempfile.TemporaryDirectory() as folder:
        work = pathlib.Path(folder)
        ours = Ours(args, row, work)
        checkpoint = ours.checkpoint()
        peers = [Torch(args, row, checkpoint, mode) for mode in args.modes]
        losses = [ours.loss(checkpoint), peers[0].ask(loss=str(ours.eval_tokens))["loss"]]
        if abs(losses[0] - losses[1]) > 1e-4:
            sys.exit(f"{name}: the losses on the same tokens must agree to 1e-4, ours is {losses[0]}, PyTorch's {losses[1]}")
        samples = {"ours": [], **{peer.name: [] for peer in peers}}
        for _ in range(args.rounds):
            samples["ours"].append(ours.time(args.steps))
            for peer in peers:
                samples[peer.name].append(peer.ask(time=args.steps))
        for peer in peers:
            peer.close()
    found = {who: summary(of) for who, of in samples.items()}
    best = min((who for who in found if who != "ours"), key=lambda who: found[who]["ms"])
    tokens = row[1] * int(option(row[0], "--context"))
    return {"row": name, "options": row[0], "batch": row[1], "precision": row[2], "losses": losses, "best_peer": best,
            "ratio": found["ours"]["ms"] / found[best]["ms"], "tokens_per_s": tokens / found["ours"]["ms"] * 1e3, **found}


def line(result):
    ours, best = result["ours"], result[result["best_peer"]]
    memory = "–"
    if ours["peak_bytes"] and best["peak_bytes"]:
        memory = f"{ours['peak_bytes'] / 2**20:,.0f} / {best['peak_bytes'] / 2**20:,.0f}"
    others = ", ".join(f"{who[6:]} {of['ms']:.3g}" for who, of in result.items() if who.startswith("torch "))
    return (f"| {result['row']}, {result['precision']}, batch {result['batch']} | {ours['ms']:.3g} "
            f"(±{50 * ours['spread']:.1f} %) | {others} | **{result['ratio']:.2f}** | {result['tokens_per_s']:,.0f} | {memory} |")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cuda")
    parser.add_argument("--binary", help="the program; build/cuda/bin/mixgrad or build/cpu/bin/mixgrad")
    parser.add_argument("--rows", help="names, with commas between them; all of the device without it")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=20, help="steps of a round")
    parser.add_argument("--modes", help="of PyTorch; eager,compile,graph on a GPU, eager on a CPU")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", help="the results go to this file, too")
    args = parser.parse_args()
    rows = GPU_ROWS if args.device == "cuda" else CPU_ROWS
    names = args.rows.split(",") if args.rows else list(rows)
    for name in names:
        if name not in rows:
            sys.exit(f"--rows: there is no row {name}; there are {', '.join(rows)}")
    args.modes = (args.modes or ("eager,compile,graph" if args.device == "cuda" else "eager")).split(",")
    args.binary = args.binary or str(ROOT / ("build/cuda/bin/mixgrad" if args.device == "cuda" else "build/cpu/bin/mixgrad"))
    real_time = subprocess.run(["chrt", "-f", "1", "true"], capture_output=True, check=False).returncode == 0
    args.prefix = ["chrt", "-f", "1"] if args.device == "cpu" and real_time else []
    print("| step | ours, ms | PyTorch, ms | ratio | ours, tokens/s | peak MiB, ours / PyTorch |\n|---|---|---|---|---|---|",
          flush=True)
    results = []
    for name in names:
        results.append(measure(args, name, rows[name]))
        print(line(results[-1]), flush=True)
    if args.json:
        pathlib.Path(args.json).write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
