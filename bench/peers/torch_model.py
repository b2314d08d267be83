"""A model of ours as a PyTorch user would best write it: scaled_dot_product_attention, views instead of copies, one
linear layer where the formula has one. Built from config.json and loaded by the names of model.safetensors, so that both
sides have the same weights. Only for timing: tests/reference has the formulas in plain loops.
"""
import json
import math
import pathlib

import torch
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional as F


class NoPeer(Exception):
    """This model has no PyTorch form here."""


def norm_of(config):
    if config["norm"] == "layernorm":
        return nn.LayerNorm(config["d_model"], eps=config["norm_eps"], bias=config["bias"])
    return nn.RMSNorm(config["d_model"], eps=config["norm_eps"])


def linear(config, inputs, outputs):
    return nn.Linear(inputs, outputs, bias=config["bias"])


def rotate(x, cosine, sine):
    """Rotate-half positions of x [B, H, T, dh]; cosine and sine [T, dh / 2]."""
    low, high = x.chunk(2, dim=-1)
    return torch.cat([low * cosine - high * sine, high * cosine + low * sine], dim=-1)


class Attention(nn.Module):
    def __init__(self, config, layer):
        super().__init__()
        if layer.get("window", 0) or layer.get("qkv_bias", config["bias"]) != config["bias"]:
            raise NoPeer("attention with window or qkv_bias")
        self.heads, self.kv_heads = layer["heads"], layer["kv_heads"]
        self.dh = config["d_model"] // self.heads
        self.qkv = linear(config, config["d_model"], (self.heads + 2 * self.kv_heads) * self.dh)
        self.o = linear(config, config["d_model"], config["d_model"])

    def forward(self, u, angles):
        b, t, d = u.shape
        sizes = [d, self.kv_heads * self.dh, self.kv_heads * self.dh]
        q, k, v = (x.view(b, t, -1, self.dh).transpose(1, 2) for x in self.qkv(u).split(sizes, dim=2))
        if angles is not None:
            q, k = rotate(q, *angles).to(v.dtype), rotate(k, *angles).to(v.dtype)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=self.kv_heads < self.heads)
        return self.o(y.transpose(1, 2).reshape(b, t, d))


class ShiftMixing(nn.Module):
    """Heads of one shift each; without projections, as `hsm:VARIANT` of the benchmarks has them."""

    def __init__(self, config, layer):
        super().__init__()
        if layer["proj"] != "none" or layer["boundary"] != "zero" or len(set(layer["shifts"])) != 1:
            raise NoPeer("shift mixing with projections, self boundary or several shifts")
        self.shift, self.variant = layer["shifts"][0], layer["variant"]
        d, h = config["d_model"], layer["heads"]
        self.dh = d // h
        if self.variant in ("scalar", "vector"):
            self.a, self.b = (nn.Parameter(torch.ones(h if self.variant == "scalar" else d)) for _ in "ab")
        elif self.variant == "gate_single" and h == 1:
            self.gate_u, self.gate = nn.Module(), nn.Module()
            self.gate_u.weight = nn.Parameter(torch.zeros(1, d, d))
            self.gate.bias = nn.Parameter(torch.zeros(d))
        else:
            raise NoPeer(f"shift mixing {self.variant} with {h} heads")

    def forward(self, u, angles):
        z = F.pad(u[:, : -self.shift], (0, 0, self.shift, 0)) if self.shift < u.shape[1] else torch.zeros_like(u)
        if self.variant == "gate_single":
            gamma = torch.sigmoid(F.linear(u, self.gate_u.weight[0], self.gate.bias.to(u.dtype)))
            return gamma * u + (1 - gamma) * z
        a, b = self.a, self.b
        if self.variant == "scalar":
            a, b = a.repeat_interleave(self.dh), b.repeat_interleave(self.dh)
        return a.to(u.dtype) * u + b.to(u.dtype) * z


MIXERS = {"attention": Attention, "hsm": ShiftMixing}


class ShortcutSource(nn.Module):
    """What the last layer sees of one hidden state: norm and MLP of its own."""

    def __init__(self, config):
        super().__init__()
        self.norm = norm_of(config)
        self.up = linear(config, config["d_model"], config["shortcut"]["hidden"])
        self.down = linear(config, config["shortcut"]["hidden"], config["d_model"])

    def forward(self, h):
        return self.down(F.gelu(self.up(self.norm(h)), approximate="tanh"))


class ShortcutAttention(nn.Module):
    """One softmax over all tokens up to the query's, of all sources. The keys of a token lie side by side, so a query sees
    a prefix; on a GPU flex_attention leaves out the blocks behind it, on a CPU a mask says what is seen."""

    def __init__(self, config, layer):
        super().__init__()
        if config["shortcut"]["concat"] != "sequence":
            raise NoPeer(f"a shortcut with concat={config['shortcut']['concat']}")
        self.heads, self.kv_heads, self.sources = layer["heads"], layer["kv_heads"], len(config["shortcut"]["sources"])
        self.dh = config["d_model"] // self.heads
        self.q = linear(config, config["d_model"], config["d_model"])
        self.kv = linear(config, config["d_model"], 2 * self.kv_heads * self.dh)
        self.o = linear(config, config["d_model"], config["d_model"])
        self.blocks = None

    def leave_out_blocks(self, t, device):
        """From here on flex_attention, which must be compiled, and sequences of t tokens."""
        from torch.nn.attention.flex_attention import create_block_mask
        sources = self.sources
        self.blocks = create_block_mask(lambda b, h, q, k: k // sources <= q, None, None, t, t * sources, device=device)

    def forward(self, u, seen, angles):
        b, t, d = u.shape
        q = self.q(u).view(b, t, self.heads, self.dh).transpose(1, 2)
        k, v = self.kv(torch.stack(seen, dim=2).view(b, t * self.sources, d)).chunk(2, dim=2)
        k, v = (x.view(b, t * self.sources, self.kv_heads, self.dh).transpose(1, 2) for x in (k, v))
        if angles is not None:
            q = rotate(q, *angles).to(v.dtype)
            k = rotate(k, *(x.repeat_interleave(self.sources, dim=0) for x in angles)).to(v.dtype)
        grouped = self.kv_heads < self.heads
        if self.blocks is not None:
            from torch.nn.attention.flex_attention import flex_attention
            y = flex_attention(q, k, v, block_mask=self.blocks, enable_gqa=grouped)
        else:
            token = torch.arange(t, device=u.device)
            y = F.scaled_dot_product_attention(q, k, v, attn_mask=token.repeat_interleave(self.sources) <= token[:, None],
                                               enable_gqa=grouped)
        return self.o(y.transpose(1, 2).reshape(b, t, d))


class Mlp(nn.Module):
    def __init__(self, config):
        super().__init__()
        if config["mlp"] not in ("gelu", "gelu_erf", "relu", "swiglu"):
            raise NoPeer(f"mlp {config['mlp']}")
        self.kind = config["mlp"]
        self.up = linear(config, config["d_model"], config["d_ff"])
        if self.kind == "swiglu":
            self.gate = linear(config, config["d_model"], config["d_ff"])
        self.down = linear(config, config["d_ff"], config["d_model"])

    def forward(self, u):
        if self.kind == "swiglu":
            return self.down(F.silu(self.gate(u)) * self.up(u))
        if self.kind == "relu":
            return self.down(F.relu(self.up(u)))
        return self.down(F.gelu(self.up(u), approximate="tanh" if self.kind == "gelu" else "none"))


class Layer(nn.Module):
    def __init__(self, config, layer):
        super().__init__()
        if layer["mixer"] not in MIXERS:
            raise NoPeer(f"mixer {layer['mixer']}")
        self.norm1, self.norm2 = norm_of(config), norm_of(config)
        self.mixer, self.mlp = MIXERS[layer["mixer"]](config, layer), Mlp(config)

    def forward(self, x, angles, *seen):
        x = x + self.mixer(self.norm1(x), *seen, angles)
        return x + self.mlp(self.norm2(x))


class Decoder(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.embed = nn.Embedding(config["vocab_size"], config["d_model"])
        self.layers = nn.ModuleList(Layer(config, layer) for layer in config["layers"])
        self.norm = norm_of(config)
        self.sources = []
        if config["shortcut"] is not None:
            self.sources = config["shortcut"]["sources"]
            self.shortcut = nn.ModuleList(ShortcutSource(config) for _ in self.sources)
            self.layers[-1].mixer = ShortcutAttention(config, config["layers"][-1])
        if config["positions"] == "learned":
            self.pos = nn.Embedding(config["context"], config["d_model"])
        self.rotary = config["positions"] == "rope" and any(layer["mixer"] == "attention" for layer in config["layers"])
        if self.rotary:
            dh = config["d_model"] // next(x["heads"] for x in config["layers"] if x["mixer"] == "attention")
            speeds = config["rope_theta"] ** (-torch.arange(0, dh, 2, dtype=torch.float64) / dh)
            angles = torch.arange(config["context"], dtype=torch.float64)[:, None] * speeds
            self.register_buffer("cosine", angles.cos().float(), persistent=False)
            self.register_buffer("sine", angles.sin().float(), persistent=False)
        if not config["tie_embeddings"]:
            self.head = nn.Linear(config["d_model"], config["vocab_size"], bias=False)

    def forward(self, tokens, targets):
        t = tokens.shape[1]
        x = self.embed(tokens)
        if hasattr(self, "pos"):
            x = x + self.pos.weight[:t]
        angles = (self.cosine[:t], self.sine[:t]) if self.rotary else None
        hidden = [x]
        for layer in self.layers[: len(self.layers) - bool(self.sources)]:
            hidden.append(layer(hidden[-1], angles))
        x = hidden[-1]
        if self.sources:
            x = self.layers[-1](x, angles, [source(hidden[m]) for source, m in zip(self.shortcut, self.sources)])
        weight = self.head.weight if hasattr(self, "head") else self.embed.weight
        logits = F.linear(self.norm(x), weight)
        return F.cross_entropy(logits.view(-1, logits.shape[-1]), targets.reshape(-1))


def load(folder):
    """The model of a checkpoint of ours; every tensor of the file finds its place, and every place its tensor."""
    folder = pathlib.Path(folder)
    model = Decoder(json.loads((folder / "config.json").read_text()))
    model.load_state_dict(load_file(folder / "model.safetensors"), strict=True)
    return model


def decays(name):
    """As in our optimizer: no weight decay for norms, biases and coefficients of shift mixing."""
    last = name.split(".")[-1]
    return not ("norm" in name or last in ("bias", "a", "b"))


def optimizer_of(model, lr, beta2, weight_decay, capturable):
    groups = [{"params": [p for n, p in model.named_parameters() if decays(n) == flag],
               "weight_decay": weight_decay if flag else 0.0} for flag in (True, False)]
    return torch.optim.AdamW(groups, lr=lr, betas=(0.9, beta2), fused=True, capturable=capturable)


def mean_loss(model, ids, context):
    """Mean over all targets of ids in windows that do not overlap, as `mixgrad eval` has it. ids: a tensor of 1 axis."""
    total = count = 0
    with torch.no_grad():
        for begin in range(0, len(ids) - 1, context):
            part = ids[begin : begin + context + 1].long()
            total += float(model(part[None, :-1], part[None, 1:])) * (len(part) - 1)
            count += len(part) - 1
    assert math.isfinite(total)
    return total / count
