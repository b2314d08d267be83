"""The token mixers: from u = norm1(x) [B, T, D] to what is added to x, [B, T, D].

Everything loops over heads and tokens, one head and one token at a time; only the batch goes along as the first axis.
`p` holds the parameters of one mixer under their names without the prefix layers.{l}.mixer. , `layer` its
configuration. H heads, G key/value heads, dh = D/H. t, i, j count tokens from 0.
"""

import math

import torch

from config import heads_of, softmax_groups, windows
from functions import below, gelu, linear, rope, silu, softmax, softplus


def side_by_side(heads):
    """heads[h][t] is [B, dh]; returns [B, T, H·dh], head 0 first."""
    return torch.cat([torch.stack(tokens, dim=1) for tokens in heads], dim=-1)


def columns(x, number, width):
    """Of x [B, T, ...·width] the block of head `number`: [B, T, width]."""
    return x[:, :, number * width : (number + 1) * width]


# ---- Softmax attention ------------------------------------------------------------------------------------------


def attend(query, keys, values):
    """One query [B, dh] over keys and values [B, J, dh]: weights = softmax(q·k/√dh) [B, J], output = Σ_j weight v_j."""
    scores = (query[:, None, :] * keys).sum(dim=-1) / math.sqrt(query.shape[-1])
    weights = softmax(scores)
    return (weights[:, :, None] * values).sum(dim=1), weights


def rotated(config, x):
    """x [B, T, dh] with each token turned by its own angle, where positions are rotary."""
    if config["positions"] != "rope":
        return x
    return torch.stack([rope(x[:, t], t, config["rope_theta"]) for t in range(x.shape[1])], dim=1)


def softmax_heads(config, qkv, seen, number_of_groups, dh):
    """qkv [B, T, (H + 2G)·dh]: q of every head, k of every group, v of every group. Causal: query i sees j ≤ i, and of
    a head h with seen[h] = W > 0 only i − W < j.

    Returns outputs[h][i] [B, dh] and weights[h][i] [B, keys seen], the last of them that of key i."""
    number_of_heads = len(seen)
    outputs, weights = [], []
    for h in range(number_of_heads):
        g = h // (number_of_heads // number_of_groups)
        q = rotated(config, columns(qkv, h, dh))
        k = rotated(config, columns(qkv, number_of_heads + g, dh))
        v = columns(qkv, number_of_heads + number_of_groups + g, dh)
        pairs = []
        for i in range(qkv.shape[1]):
            keys = slice(max(0, i - seen[h] + 1) if seen[h] > 0 else 0, i + 1)
            pairs.append(attend(q[:, i], k[:, keys], v[:, keys]))
        outputs.append([output for output, _ in pairs])
        weights.append([weight for _, weight in pairs])
    return outputs, weights


def recency(weights, window):
    """Of one head, weights[i] [B, keys seen]: the mean over queries and batch of the mass on the last window + 1 keys."""
    mass = [of_query[:, max(0, of_query.shape[1] - 1 - window) :].sum(dim=-1) for of_query in weights]
    return torch.stack(mass).mean()


def attention(config, layer, p, u):
    """Returns the output and the weights of its heads."""
    H, G = layer["heads"], layer["kv_heads"]
    heads, weights = softmax_heads(config, linear(p, "qkv", u), windows(layer), G, config["d_model"] // H)
    return linear(p, "o", side_by_side(heads)), weights


# ---- Hierarchical shift mixing ----------------------------------------------------------------------------------


def hsm(config, layer, p, u):
    """Head h mixes u_t with z_t = u_{t − s_h}; before the start z_t is 0 (boundary zero) or u_t (self)."""
    if layer["proj"] in ["v", "vo"]:
        u = linear(p, "v", u)
    dh = config["d_model"] // layer["heads"]
    heads = []
    for h, shift in enumerate(layer["shifts"]):
        of_head = columns(u, h, dh)
        tokens = []
        for t in range(u.shape[1]):
            now = of_head[:, t]
            if t >= shift:
                past = of_head[:, t - shift]
            else:
                past = now if layer["boundary"] == "self" else torch.zeros_like(now)
            tokens.append(hsm_token(layer["variant"], p, h, now, past))
        heads.append(tokens)
    y = side_by_side(heads)
    return linear(p, "o", y) if layer["proj"] in ["o", "vo"] else y


def hsm_token(variant, p, h, u, z):
    """y_t of head h from u_t and z_t, both [B, dh]."""
    dh = u.shape[-1]
    channels = slice(h * dh, (h + 1) * dh)  # of head h in a parameter [D]
    if variant == "scalar":  # a_h u + b_h z
        return p["a"][h] * u + p["b"][h] * z
    if variant == "vector":  # a ⊙ u + b ⊙ z
        return p["a"][channels] * u + p["b"][channels] * z
    if variant == "matrix":  # A u + B z + c
        return u @ p["u.weight"][h].T + z @ p["z.weight"][h].T + p["bias"][channels]
    if variant == "fusion":  # W₂ gelu(W₁ [u; z] + b₁) + b₂
        hidden = gelu(torch.cat([u, z], dim=-1) @ p["up.weight"][h].T + p["up.bias"][h])
        return hidden @ p["down.weight"][h].T + p["down.bias"][channels]
    if variant not in ["gate_single", "gate_double"]:
        raise ValueError(f"mixers.py has no formula for the mixing {variant}")
    gate = u @ p["gate_u.weight"][h].T + p["gate.bias"][channels]  # γ = σ(W u + c), with + W′ z for gate_double
    if variant == "gate_double":
        gate = gate + z @ p["gate_z.weight"][h].T
    gamma = torch.sigmoid(gate)
    return gamma * u + (1 - gamma) * z


# ---- RecurFormer: softmax, Mamba and shift heads side by side ---------------------------------------------------


def recurformer(config, layer, p, u):
    """Every head fills its own slot, whatever its kind. Returns the output and the weights of the softmax heads."""
    dh = config["d_model"] // layer["heads"]
    slots = {}
    weights = []
    kept = softmax_groups(layer)
    if kept:
        kept_heads = heads_of(layer, kept)
        outputs, weights = softmax_heads(config, linear(p, "qkv", u), windows(layer), len(kept), dh)
        slots.update(zip(kept_heads, outputs))
    for r, h in enumerate(heads_of(layer, layer["recurrent_groups"])):
        slots[h] = mamba_head(layer, {name: value[r] for name, value in below(p, "mamba.").items()}, u)
    shift_heads = heads_of(layer, layer["shift_groups"])
    if shift_heads:
        v = linear(p, "shift.v", u)
        for r, h in enumerate(shift_heads):
            slots[h] = shift_head(p["shift.a"][r], p["shift.b"][r], layer["shifts"][r], columns(v, r, dh))
    y = side_by_side([slots[h] for h in range(layer["heads"])])
    return linear(p, "o", y) if layer.get("o", True) else y, weights


def shift_head(a, b, shift, v):
    """out_t = a v_t + b v_{t−s}, and v = 0 before the start."""
    tokens = []
    for t in range(v.shape[1]):
        tokens.append(a * v[:, t] + b * v[:, t - shift] if t >= shift else a * v[:, t])
    return tokens


def mamba_head(layer, p, u):
    """One Mamba block from width D to dh. p: the parameters of this head. Returns out[t] [B, dh]."""
    di, N = p["A_log"].shape
    rank, W = layer["dt_rank"], layer["d_conv"]
    A = -torch.exp(p["A_log"])  # [di, N]
    state = torch.zeros(u.shape[0], di, N, dtype=torch.float64)  # h before t = 0
    inputs, outputs = [], []
    for t in range(u.shape[1]):
        xz = u[:, t] @ p["in_proj.weight"].T  # [x; z] = in_proj u
        x, z = xz[:, :di], xz[:, di:]
        inputs.append(x)
        conv = p["conv.bias"]  # + Σ_w conv[w] x_{t−(W−1)+w}, zeros before t = 0
        for w in range(W):
            past = t - (W - 1) + w
            if past >= 0:
                conv = conv + p["conv.weight"][:, w] * inputs[past]
        xc = silu(conv)
        projected = xc @ p["x_proj.weight"].T  # (δ, B, C) = x_proj xc
        small, B, C = projected[:, :rank], projected[:, rank : rank + N], projected[:, rank + N :]
        delta = softplus(small @ p["dt_proj.weight"].T + p["dt_proj.bias"])  # Δ [B, di]
        decay = torch.exp(delta[:, :, None] * A)
        state = decay * state + delta[:, :, None] * B[:, None, :] * xc[:, :, None]
        y = (state * C[:, None, :]).sum(dim=-1) + p["D"] * xc  # y = C·h + D xc
        outputs.append((y * silu(z)) @ p["out_proj.weight"].T)
    return outputs


# ---- Attention shortcuts ----------------------------------------------------------------------------------------


def shortcut_attention(config, layer, p, u, features):
    """The last layer's mixer: queries from u = norm1(h^{N−1}), keys and values from the features f_m [B, T, D].

    sequence: one softmax over all (m, j ≤ i). depth: over (m, i) only. feature: over j ≤ i, the features' channels
    side by side. Returns the output and the depth mass [B, H, T, M] (None for feature): for each query the sum of its
    weights on each source."""
    H, G = layer["heads"], layer["kv_heads"]
    dh = config["d_model"] // H
    concat = config["shortcut"]["concat"]
    queries = linear(p, "q", u)
    rows = [torch.cat(features, dim=-1)] if concat == "feature" else features
    kv = [linear(p, "kv", row) for row in rows]  # of each source [B, T, 2G·dh]: k of every group, v of every group
    heads, mass = [], []
    for h in range(H):
        g = h // (H // G)
        q = rotated(config, columns(queries, h, dh))
        k = [rotated(config, columns(source, g, dh)) for source in kv]
        v = [columns(source, G + g, dh) for source in kv]
        outputs, mass_of_head = [], []
        for i in range(u.shape[1]):
            seen = slice(i, i + 1) if concat == "depth" else slice(0, i + 1)  # the tokens j of which query i sees rows
            keys = torch.cat([source[:, seen] for source in k], dim=1)
            values = torch.cat([source[:, seen] for source in v], dim=1)
            output, weights = attend(q[:, i], keys, values)
            outputs.append(output)
            mass_of_head.append(torch.stack([part.sum(dim=-1) for part in weights.chunk(len(kv), dim=1)], dim=-1))
        heads.append(outputs)
        mass.append(torch.stack(mass_of_head, dim=1))
    return linear(p, "o", side_by_side(heads)), None if concat == "feature" else torch.stack(mass, dim=1)
