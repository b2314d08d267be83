"""What a model is: its configuration, checked, and the names and shapes of its parameters.

Letters: D = d_model, H heads, G key/value heads, dh = D/H, V vocabulary. Weights are [out, in].
"""

from kinds import VARIANTS

MODEL_KEYS = [
    "vocab_size", "context", "d_model", "d_ff", "norm", "norm_eps", "positions", "rope_theta", "mlp", "bias",
    "tie_embeddings", "layers", "shortcut",
]  # fmt: skip
LAYER_KEYS = {
    "attention": ["mixer", "heads", "kv_heads"],
    "hsm": ["mixer", "variant", "heads", "shifts", "proj", "boundary"],  # and "hidden" for the variant fusion
    "recurformer": [
        "mixer", "heads", "kv_heads", "recurrent_groups", "d_state", "d_conv", "expand", "dt_rank", "shift_groups",
        "shifts",
    ],
}  # fmt: skip
OPTIONAL_KEYS = {
    "attention": ["window", "qkv_bias"],
    "recurformer": ["window_groups", "window", "qkv_bias", "o"],
}  # absent: all keys are seen, the bias is the model's, no group has a window, there is an o


def require(good, where, allowed, found):
    if not good:
        raise ValueError(f"config: {where} must be {allowed}, found {found!r}")


def require_keys(found, keys, where, optional=()):
    good = isinstance(found, dict) and set(keys) <= set(found) <= set(keys) | set(optional)
    require(good, where, f"an object with the keys {keys}, optionally {list(optional)}", found)


def is_positive(value):
    return type(value) is int and value >= 1


def require_positive(found, keys, where):
    for key in keys:
        require(is_positive(found[key]), where + key, "an integer of at least 1", found[key])


def require_choice(found, key, choices, where=""):
    require(found[key] in choices, where + key, f"one of {choices}", found[key])


def check(config):
    """Raises ValueError with the first thing that is wrong."""
    require_keys(config, MODEL_KEYS, "the model")
    require_positive(config, ["vocab_size", "context", "d_model"], "")
    if config["mlp"] == "none":
        require(config["d_ff"] == 0, "d_ff", "0 where mlp is none", config["d_ff"])
    else:
        require_positive(config, ["d_ff"], "")
    require_choice(config, "norm", ["layernorm", "rmsnorm"])
    require_choice(config, "positions", ["learned", "rope", "none"])
    require_choice(config, "mlp", ["gelu", "gelu_erf", "relu", "swiglu", "none"])
    for key in ["bias", "tie_embeddings"]:
        require_choice(config, key, [True, False])
    for key in ["norm_eps", "rope_theta"]:
        require(config[key] > 0, key, "a number above 0", config[key])
    require(len(config["layers"]) >= 1, "layers", "at least one layer", config["layers"])
    for number, layer in enumerate(config["layers"]):
        check_layer(config, layer, f"layers[{number}].")
    if config["shortcut"] is not None:
        check_shortcut(config["shortcut"], config["layers"])


def check_layer(config, layer, where):
    require(layer.get("mixer") in LAYER_KEYS, where + "mixer", f"one of {list(LAYER_KEYS)}", layer.get("mixer"))
    keys = LAYER_KEYS[layer["mixer"]] + (["hidden"] if layer.get("variant") == "fusion" else [])
    require_keys(layer, keys, where[:-1], OPTIONAL_KEYS.get(layer["mixer"], []))
    require_positive(layer, ["heads"], where)
    require(config["d_model"] % layer["heads"] == 0, where + "heads", "a divisor of d_model", layer["heads"])
    if layer["mixer"] == "hsm":
        require_choice(layer, "variant", VARIANTS, where)
        require_choice(layer, "proj", ["none", "v", "o", "vo"], where)
        require_choice(layer, "boundary", ["zero", "self"], where)
        check_shifts(layer["shifts"], layer["heads"], where)
        if layer["variant"] == "fusion":
            require_positive(layer, ["hidden"], where)
        return
    require_positive(layer, ["kv_heads"], where)
    require(layer["heads"] % layer["kv_heads"] == 0, where + "kv_heads", "a divisor of heads", layer["kv_heads"])
    softmax_groups = layer["kv_heads"]
    if layer["mixer"] == "recurformer":
        require_positive(layer, ["d_state", "d_conv", "expand", "dt_rank"], where)
        both = layer["recurrent_groups"] + layer["shift_groups"]
        windowed = layer.get("window_groups", [])
        for key in ["recurrent_groups", "shift_groups", "window_groups"]:
            groups = layer.get(key, [])
            require(groups == sorted(set(groups)), where + key, "ascending and distinct", groups)
            require(set(groups) <= set(range(layer["kv_heads"])), where + key, "below kv_heads", groups)
        require(len(set(both)) == len(both), where + "shift_groups", "disjoint from recurrent_groups", both)
        require(not set(both) & set(windowed), where + "window_groups", "softmax groups", windowed)
        require((layer.get("window", 0) > 0) == (windowed != []), where + "window", "that of window_groups", layer)
        check_shifts(layer["shifts"], len(heads_of(layer, layer["shift_groups"])), where)
        softmax_groups -= len(both)
    if config["positions"] == "rope" and softmax_groups > 0:
        width = config["d_model"] // layer["heads"]
        require(width % 2 == 0, where + "heads", "such that the head width is even (rope)", width)


def check_shifts(shifts, heads, where):
    good = len(shifts) == heads and all(is_positive(shift) for shift in shifts)
    require(good, where + "shifts", f"{heads} integers of at least 1", shifts)


def check_shortcut(shortcut, layers):
    require_keys(shortcut, ["sources", "hidden", "concat"], "shortcut")
    require_positive(shortcut, ["hidden"], "shortcut.")
    require_choice(shortcut, "concat", ["sequence", "feature", "depth"], "shortcut.")
    require(layers[-1]["mixer"] == "attention", "the last layer", "attention under a shortcut", layers[-1]["mixer"])
    sources = shortcut["sources"]
    good = len(sources) >= 1 and sources == sorted(set(sources)) and set(sources) <= set(range(len(layers)))
    require(good, "shortcut.sources", f"ascending, distinct and below {len(layers)}", sources)


def heads_of(layer, groups):
    """The query heads that read one of these key/value groups, ascending: head h reads group floor(h / (H/G))."""
    per_group = layer["heads"] // layer["kv_heads"]
    return [h for h in range(layer["heads"]) if h // per_group in groups]


def softmax_groups(layer):
    """The key/value groups that stay attention."""
    others = layer.get("recurrent_groups", []) + layer.get("shift_groups", [])
    return [g for g in range(layer["kv_heads"]) if g not in others]


def windows(layer):
    """How many tokens each softmax head sees, itself included, in the order of these heads; 0: all."""
    if layer["mixer"] == "attention":
        return [layer.get("window", 0)] * layer["heads"]
    windowed = heads_of(layer, layer.get("window_groups", []))
    return [layer["window"] if h in windowed else 0 for h in heads_of(layer, softmax_groups(layer))]


def parameter_shapes(config):
    """Name -> shape of every parameter, in the order of the model."""
    shapes = {}
    D = config["d_model"]

    def linear(name, rows, columns, bias=config["bias"]):
        shapes[name + ".weight"] = [rows, columns]
        if bias:
            shapes[name + ".bias"] = [rows]

    def norm(name):
        shapes[name + ".weight"] = [D]
        if config["bias"] and config["norm"] == "layernorm":
            shapes[name + ".bias"] = [D]

    shapes["embed.weight"] = [config["vocab_size"], D]
    if config["positions"] == "learned":
        shapes["pos.weight"] = [config["context"], D]
    last = len(config["layers"]) - 1
    for number, layer in enumerate(config["layers"]):
        at = f"layers.{number}."
        norm(at + "norm1")
        if config["shortcut"] is not None and number == last:
            shortcut_layer_shapes(config, layer, at + "mixer.", linear)
        elif layer["mixer"] == "attention":
            rows = (layer["heads"] + 2 * layer["kv_heads"]) * (D // layer["heads"])
            linear(at + "mixer.qkv", rows, D, layer.get("qkv_bias", config["bias"]))
            linear(at + "mixer.o", D, D)
        elif layer["mixer"] == "hsm":
            hsm_shapes(layer, D, at + "mixer.", linear, shapes)
        elif layer["mixer"] == "recurformer":
            recurformer_shapes(config, layer, at + "mixer.", linear, shapes)
        else:
            raise ValueError(f"config.py has no shapes for the mixer {layer['mixer']}")
        if config["mlp"] == "none":
            continue
        norm(at + "norm2")
        if config["mlp"] == "swiglu":
            linear(at + "mlp.gate", config["d_ff"], D)
        linear(at + "mlp.up", config["d_ff"], D)
        linear(at + "mlp.down", D, config["d_ff"])
    if config["shortcut"] is not None:
        for m in range(len(config["shortcut"]["sources"])):
            norm(f"shortcut.{m}.norm")
            linear(f"shortcut.{m}.up", config["shortcut"]["hidden"], D)
            linear(f"shortcut.{m}.down", D, config["shortcut"]["hidden"])
    norm("norm")
    if not config["tie_embeddings"]:
        linear("head", config["vocab_size"], D, bias=False)
    return shapes


def shortcut_layer_shapes(config, layer, at, linear):
    D = config["d_model"]
    sources = len(config["shortcut"]["sources"])
    linear(at + "q", D, D)
    rows = 2 * layer["kv_heads"] * (D // layer["heads"])
    linear(at + "kv", rows, sources * D if config["shortcut"]["concat"] == "feature" else D)
    linear(at + "o", D, D)


def hsm_shapes(layer, D, at, linear, shapes):
    H = layer["heads"]
    dh = D // H
    square = [H, dh, dh]
    if layer["proj"] in ["v", "vo"]:
        linear(at + "v", D, D)
    own = {
        "scalar": {"a": [H], "b": [H]},
        "vector": {"a": [D], "b": [D]},
        "matrix": {"u.weight": square, "z.weight": square, "bias": [D]},
        "gate_single": {"gate_u.weight": square, "gate.bias": [D]},
        "gate_double": {"gate_u.weight": square, "gate_z.weight": square, "gate.bias": [D]},
    }
    if layer["variant"] == "fusion":
        Fm = layer["hidden"]
        own["fusion"] = {
            "up.weight": [H, Fm, 2 * dh],
            "up.bias": [H, Fm],
            "down.weight": [H, dh, Fm],
            "down.bias": [D],
        }
    for name, shape in own[layer["variant"]].items():
        shapes[at + name] = shape
    if layer["proj"] in ["o", "vo"]:
        linear(at + "o", D, D)


def recurformer_shapes(config, layer, at, linear, shapes):
    D = config["d_model"]
    dh = D // layer["heads"]
    kept = softmax_groups(layer)
    if kept:
        rows = (len(heads_of(layer, kept)) + 2 * len(kept)) * dh
        linear(at + "qkv", rows, D, layer.get("qkv_bias", config["bias"]))
    R = len(heads_of(layer, layer["recurrent_groups"]))
    if R > 0:
        di, N, rank = layer["expand"] * dh, layer["d_state"], layer["dt_rank"]
        shapes[at + "mamba.in_proj.weight"] = [R, 2 * di, D]
        shapes[at + "mamba.conv.weight"] = [R, di, layer["d_conv"]]
        shapes[at + "mamba.conv.bias"] = [R, di]
        shapes[at + "mamba.x_proj.weight"] = [R, rank + 2 * N, di]
        shapes[at + "mamba.dt_proj.weight"] = [R, di, rank]
        shapes[at + "mamba.dt_proj.bias"] = [R, di]
        shapes[at + "mamba.A_log"] = [R, di, N]
        shapes[at + "mamba.D"] = [R, di]
        shapes[at + "mamba.out_proj.weight"] = [R, dh, di]
    S = len(heads_of(layer, layer["shift_groups"]))
    if S > 0:
        linear(at + "shift.v", S * dh, D)
        shapes[at + "shift.a"] = [S]
        shapes[at + "shift.b"] = [S]
    if layer.get("o", True):
        linear(at + "o", D, D)
