"""Writes conformance cases of random models.    python tests/reference/generate.py --out FOLDER --count 200 --seed 1

Case number n of a seed depends on these two and the options below alone: --first 37 --count 1 writes number 37 again.
The numbers come from Python's own generator, so they are the same with every version of PyTorch.
"""

import argparse
import json
import math
import pathlib
import random
import struct
import time

import torch

import case
import config as model_config
from kinds import MIXERS, VARIANTS

# What can be drawn: the kinds of the engine's lists, hsm by its mixings, and the shortcut of the last layer.
KINDS = [kind for mixer in MIXERS.values() for kind in (VARIANTS if mixer == "hsm" else [mixer])] + ["shortcut"]


# ---- A random configuration, as awkward as the documentation allows ---------------------------------------------


def random_config(rng, kinds):
    d_model = rng.choice([3, 4, 5, 6, 8, 9, 10, 12, 12, 15, 16, 18, 20, 24])
    context = rng.choice([1, 2, 3, 5, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16])
    positions = rng.choice(["learned", "rope", "none"] if d_model % 2 == 0 else ["learned", "none"])
    mixers = [kind for kind in kinds if kind != "shortcut"]
    weights = [1 if kind in VARIANTS else 4 for kind in mixers]
    chosen = rng.choices(mixers, weights, k=rng.randint(1, 4))
    layers = [random_layer(rng, kind, d_model, context, positions) for kind in chosen]
    shortcut = None
    if "shortcut" in kinds and rng.random() < 0.35:
        layers[-1] = random_layer(rng, "attention", d_model, context, positions, under_shortcut=True)
        shortcut = {
            "sources": sorted(rng.sample(range(len(layers)), rng.randint(1, len(layers)))),
            "hidden": rng.randint(1, 20),
            "concat": rng.choice(["sequence", "feature", "depth"]),
        }
    mlp = rng.choice(["gelu", "gelu_erf", "relu", "swiglu", "none"])
    return {
        "vocab_size": rng.randint(2, 23),
        "context": context,
        "d_model": d_model,
        "d_ff": 0 if mlp == "none" else rng.randint(1, 40),
        "norm": rng.choice(["layernorm", "rmsnorm"]),
        "norm_eps": rng.choice([1e-5, 1e-6, 1e-3]),
        "positions": positions,
        "rope_theta": rng.choice([10000.0, 500.0, 2.5]),
        "mlp": mlp,
        "bias": rng.random() < 0.5,
        "tie_embeddings": rng.random() < 0.5,
        "layers": layers,
        "shortcut": shortcut,
    }


def random_layer(rng, kind, d_model, context, positions, under_shortcut=False):
    if kind in VARIANTS:
        heads = rng.choice(divisors(d_model))
        layer = {
            "mixer": "hsm",
            "variant": kind,
            "heads": heads,
            "shifts": random_shifts(rng, heads, context),
            "proj": rng.choice(["none", "none", "v", "o", "vo"]),
            "boundary": rng.choice(["zero", "self"]),
        }
        return {**layer, "hidden": rng.randint(1, 9)} if kind == "fusion" else layer
    possible = [heads for heads in divisors(d_model) if heads <= 8]
    if positions == "rope" and kind == "attention":  # softmax heads of even width
        possible = [heads for heads in possible if d_model // heads % 2 == 0]
    heads = rng.choices(possible, weights=possible)[0]  # rather many than one
    kv_heads = rng.choices(divisors(heads), weights=divisors(heads))[0]
    if kind == "attention":
        layer = {"mixer": "attention", "heads": heads, "kv_heads": kv_heads}
        if not under_shortcut:
            layer.update({"window": random_window(rng, context)} if rng.random() < 0.4 else {})
            layer.update({"qkv_bias": rng.random() < 0.5} if rng.random() < 0.3 else {})
        return layer
    if kind != "recurformer":
        raise ValueError(f"generate.py cannot draw a layer of the kind {kind}")
    roles = ["mamba", "shift"] if positions == "rope" and d_model // heads % 2 == 1 else ["softmax", "mamba", "shift"]
    roles = rng.choices(roles, k=kv_heads)
    recurrent = [group for group in range(kv_heads) if roles[group] == "mamba"]
    shift = [group for group in range(kv_heads) if roles[group] == "shift"]
    softmax = [group for group in range(kv_heads) if roles[group] == "softmax"]
    optional = {}
    if softmax and rng.random() < 0.5:
        optional["window_groups"] = sorted(rng.sample(softmax, rng.randint(1, len(softmax))))
        optional["window"] = random_window(rng, context)
    if softmax and rng.random() < 0.3:
        optional["qkv_bias"] = rng.random() < 0.5
    if rng.random() < 0.3:
        optional["o"] = rng.random() < 0.5
    return {
        "mixer": "recurformer",
        "heads": heads,
        "kv_heads": kv_heads,
        "recurrent_groups": recurrent,
        "d_state": rng.choice([1, 2, 5, 8]),
        "d_conv": rng.choice([1, 2, 3, 4, 5]),
        "expand": rng.choice([1, 2, 3]),
        "dt_rank": rng.choice([1, 2, 3]),
        "shift_groups": shift,
        "shifts": random_shifts(rng, len(shift) * (heads // kv_heads), context),
        **optional,
    }


def random_window(rng, context):
    return rng.choice([1, 2, 3, max(1, context - 1), context, 3 * context])


def divisors(n):
    return [k for k in range(1, n + 1) if n % k == 0]


def random_shifts(rng, heads, context):
    """Short ones, and ones around and beyond the context."""
    choices = [1, 1, 2, 3, 4, max(1, context - 1), context, context + 1, 3 * context]
    return [rng.choice(choices) for _ in range(heads)]


# ---- Random parameters and batches ------------------------------------------------------------------------------


def to_float32(value):
    """Rounded to float32, so that an engine in float32 starts from the same numbers as one in float64."""
    return struct.unpack("f", struct.pack("f", value))[0]


def random_parameters(rng, config):
    """Values among which no parameter is without effect: biases are not zero, no two heads are alike."""
    long_steps = rng.random() < 0.3  # Mamba steps Δ around 20, where softplus becomes linear
    parameters = {}
    for name, shape in model_config.parameter_shapes(config).items():
        values = [to_float32(random_value(rng, name, shape, i, long_steps)) for i in range(math.prod(shape))]
        parameters[name] = torch.tensor(values, dtype=torch.float64).reshape(shape)
    return parameters


def random_value(rng, name, shape, i, long_steps):
    last = name.split(".")[-1]
    if "norm" in name:
        return rng.gauss(1 if last == "weight" else 0, 0.1)
    if name.endswith("dt_proj.bias"):
        return rng.uniform(18, 22) if long_steps and rng.random() < 0.2 else rng.uniform(-6, -2)
    if last == "bias":
        return rng.gauss(0, 0.1)
    if last in ["a", "b"]:
        return rng.gauss(0.7, 0.2)
    if last == "A_log":
        return math.log(i % shape[-1] + 1) + rng.gauss(0, 0.1)
    if name.endswith("mamba.D"):
        return rng.gauss(1, 0.1)
    if name in ["embed.weight", "pos.weight"]:
        return rng.gauss(0, 0.3)
    return rng.gauss(0, 1.5 / math.sqrt(max(shape[-1], 4)))


def random_batches(rng, config, length):
    """tokens and targets [K, B, T]: some targets are −1, now and then all of a batch. `length` None: T is random."""
    K, B = rng.randint(1, 3), rng.choice([1, 1, 2, 3])
    context = config["context"]
    T = rng.choice([context] * 5 + [max(1, context - 1), rng.randint(1, context), rng.randint(1, context), 1])
    T = T if length is None else min(length, context)
    ignored = rng.choice([0.0, 0.1, 0.5])
    tokens = [rng.randrange(config["vocab_size"]) for _ in range(K * B * T)]
    targets = [-1 if rng.random() < ignored else rng.randrange(config["vocab_size"]) for _ in range(K * B * T)]
    if rng.random() < 0.1:
        batch = rng.randrange(K)
        targets[batch * B * T : (batch + 1) * B * T] = [-1] * (B * T)
    shape = [K, B, T]
    return [torch.tensor(values, dtype=torch.int32).reshape(shape) for values in (tokens, targets)]


def random_train(rng):
    """AdamW's eps is large: with 1e−8 a gradient that is zero but for rounding becomes a whole step of lr."""
    return {
        "lr": rng.choice([1e-3, 3e-3, 1e-2]),
        "beta1": rng.choice([0.9, 0.8, 0.0]),
        "beta2": rng.choice([0.95, 0.9, 0.999]),
        "eps": rng.choice([1e-3, 1e-4]),
        "weight_decay": rng.choice([0.1, 0.5, 0.0]),
        "clip": rng.choice([1.0, 0.1, 1e9]),
    }


# ---- The command ------------------------------------------------------------------------------------------------


def write_case(folder, seed, number, kinds=KINDS, config=None, length=None):
    """Returns the path of the file and one line that says what is in it."""
    rng = random.Random(f"{seed}/{number}")
    if config is None:
        config = random_config(rng, kinds)
    model_config.check(config)
    parameters = random_parameters(rng, config)
    train = random_train(rng)
    window = rng.randint(0, config["context"] + 1)
    while True:
        tokens, targets = random_batches(rng, config, length)
        inputs = [config, train, parameters, tokens, targets, window]
        computed = case.expected(*inputs)
        # A small loss is the difference of two large numbers, of which float32 has too few digits: draw again.
        if all(loss == 0 or loss > 0.2 for loss in computed["out.step_losses"].tolist()):
            break
    path = pathlib.Path(folder) / f"random-{seed}-{number:04}.safetensors"
    case.write(path, *inputs, computed)
    return path, describe(config, tokens, targets)


def describe(config, tokens, targets):
    def optional_text(layer):
        keys = model_config.OPTIONAL_KEYS[layer["mixer"]]
        return "".join(f",{key}={layer[key]}" for key in keys if key in layer)

    def layer_text(layer):
        if layer["mixer"] == "attention":
            return f"attention({layer['heads']}/{layer['kv_heads']}{optional_text(layer)})"
        if layer["mixer"] == "hsm":
            return f"{layer['variant']}({','.join(map(str, layer['shifts']))})"
        kinds = f"mamba={layer['recurrent_groups']},shift={layer['shift_groups']}"
        return f"{layer['mixer']}({layer['heads']}/{layer['kv_heads']},{kinds}{optional_text(layer)})"

    K, B, T = tokens.shape
    shortcut = config["shortcut"]
    ignored = sum(bool((batch == -1).all()) for batch in targets)
    parts = [
        f"K={K} B={B} T={T}/{config['context']} D={config['d_model']}",
        config["norm"],
        config["positions"],
        config["mlp"],
        "bias" if config["bias"] else "no-bias",
        "tied" if config["tie_embeddings"] else "untied",
        " ".join(layer_text(layer) for layer in config["layers"]),
        "" if shortcut is None else f"shortcut {shortcut['concat']} {shortcut['sources']}",
        "" if ignored == 0 else f"{ignored} of {K} batches without a target",
    ]
    return " ".join(part for part in parts if part)


def kinds_from(text):
    kinds = text.split(",")
    for kind in kinds:
        if kind not in KINDS:
            raise argparse.ArgumentTypeError(f"'{kind}' is none of {','.join(KINDS)}")
    if kinds == ["shortcut"]:
        raise argparse.ArgumentTypeError("'shortcut' needs layers below it, such as attention,shortcut")
    return kinds


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=pathlib.Path, required=True, help="folder for the files")
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--first", type=int, default=0, help="number of the first case")
    parser.add_argument("--mixers", type=kinds_from, default=KINDS, help=f"default {','.join(KINDS)}")
    parser.add_argument("--config", type=pathlib.Path, help="this config.json for every case instead of random ones")
    parser.add_argument("--tokens", type=int, help="tokens in each sequence, at most the context; default: random")
    parser.add_argument("--quiet", action="store_true", help="no line for each case")
    options = parser.parse_args()
    torch.set_num_threads(1)
    options.out.mkdir(parents=True, exist_ok=True)
    config = json.loads(options.config.read_text()) if options.config else None
    begin = time.monotonic()
    for number in range(options.first, options.first + options.count):
        path, text = write_case(options.out, options.seed, number, options.mixers, config, options.tokens)
        if not options.quiet:
            print(f"{path.stem} {text}", flush=True)
    print(f"{options.count} cases of seed {options.seed} in {options.out}, {time.monotonic() - begin:.1f} s")


if __name__ == "__main__":
    main()
