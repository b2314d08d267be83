"""The decoder, its loss and gradients, and AdamW. `p` maps each parameter's full name to a float64 tensor."""

import torch

import mixers
from functions import below, gelu, gelu_erf, linear, norm, relu, silu

ACTIVATIONS = {"gelu": gelu, "gelu_erf": gelu_erf, "relu": relu}


def mlp(config, p, u):
    if config["mlp"] == "swiglu":
        return linear(p, "down", silu(linear(p, "gate", u)) * linear(p, "up", u))
    return linear(p, "down", ACTIVATIONS[config["mlp"]](linear(p, "up", u)))


def forward(config, p, tokens):
    """tokens [B, T]. Returns logits [B, T, V], {layer: weights of its softmax heads}, depth mass or None."""
    x = p["embed.weight"][tokens]
    if config["positions"] == "learned":
        x = x + p["pos.weight"][: tokens.shape[1]]
    hidden_states = [x]  # h⁰ is the embedding, hˡ the output of block l counted from 1
    weights, depth_mass = {}, None
    for number, layer in enumerate(config["layers"]):
        at = f"layers.{number}."
        u = norm(config, p, at + "norm1", x)
        own = below(p, at + "mixer.")
        if config["shortcut"] is not None and number == len(config["layers"]) - 1:
            sources = [hidden_states[source] for source in config["shortcut"]["sources"]]
            features = [shortcut_feature(config, p, m, source) for m, source in enumerate(sources)]
            y, depth_mass = mixers.shortcut_attention(config, layer, own, u, features)
        elif layer["mixer"] == "attention":
            y, weights[number] = mixers.attention(config, layer, own, u)
        elif layer["mixer"] == "recurformer":
            y, weights[number] = mixers.recurformer(config, layer, own, u)
        elif layer["mixer"] == "hsm":
            y = mixers.hsm(config, layer, own, u)
        else:
            raise ValueError(f"model.py has no formula for the mixer {layer['mixer']}")
        x = x + y
        if config["mlp"] != "none":
            x = x + mlp(config, below(p, at + "mlp."), norm(config, p, at + "norm2", x))
        hidden_states.append(x)
    output = p["embed.weight"] if config["tie_embeddings"] else p["head.weight"]
    return norm(config, p, "norm", x) @ output.T, weights, depth_mass


def shortcut_feature(config, p, m, source):
    """f_m = down_m(gelu(up_m(norm_m(h^{s_m}))))"""
    at = f"shortcut.{m}."
    return linear(p, at + "down", gelu(linear(p, at + "up", norm(config, p, at + "norm", source))))


def loss_of(logits, targets):
    """Mean over the targets that are not −1 of −log softmax(logits)[target]; 0 when every target is −1."""
    total, count = (0 * logits).sum(), 0
    for b in range(targets.shape[0]):
        for t in range(targets.shape[1]):
            target = int(targets[b, t])
            if target == -1:
                continue
            total = total + torch.logsumexp(logits[b, t], dim=0) - logits[b, t, target]
            count += 1
    return total / max(count, 1)


def gradients_of(config, p, tokens, targets):
    """Returns the loss and {name: gradient}, by automatic differentiation of the formulas above."""
    leaves = {name: value.detach().clone().requires_grad_(True) for name, value in p.items()}
    loss = loss_of(forward(config, leaves, tokens)[0], targets)
    found = torch.autograd.grad(loss, list(leaves.values()), allow_unused=True)  # unused: b of a shift beyond T
    gradients = [torch.zeros_like(v) if g is None else g for v, g in zip(leaves.values(), found)]
    return loss.detach(), dict(zip(leaves, gradients))


def decays(name):
    """No weight decay for norms, biases, a and b of shift mixing and shift heads, A_log and Mamba's D."""
    parts = name.split(".")
    is_norm = any(part in ["norm", "norm1", "norm2"] for part in parts)
    is_shift = parts[-1] in ["a", "b"]
    is_scan = parts[-1] == "A_log" or name.endswith("mamba.D")
    return not (is_norm or name.endswith("bias") or is_shift or is_scan)


class AdamW:
    """One step: g scaled by min(1, clip/(‖g‖ + 1e−6)) over all parameters together, then for each of them
    m ← β₁ m + (1 − β₁) g, v ← β₂ v + (1 − β₂) g², p ← p (1 − lr·wd) − lr m̂/(√v̂ + eps), m̂ = m/(1 − β₁ᵗ) and so v̂.
    """

    def __init__(self, train, p):
        self.train = train
        self.steps = 0
        self.m = {name: torch.zeros_like(value) for name, value in p.items()}
        self.v = {name: torch.zeros_like(value) for name, value in p.items()}

    def step(self, p, gradients):
        """Returns the new parameters."""
        train = self.train
        self.steps += 1
        length = sum(float((g * g).sum()) for g in gradients.values()) ** 0.5
        scale = min(1.0, train["clip"] / (length + 1e-6))
        after = {}
        for name, value in p.items():
            g = gradients[name] * scale
            self.m[name] = train["beta1"] * self.m[name] + (1 - train["beta1"]) * g
            self.v[name] = train["beta2"] * self.v[name] + (1 - train["beta2"]) * g * g
            mean = self.m[name] / (1 - train["beta1"] ** self.steps)
            square = self.v[name] / (1 - train["beta2"] ** self.steps)
            decay = train["weight_decay"] if decays(name) else 0.0
            update = train["lr"] * mean / (torch.sqrt(square) + train["eps"])
            after[name] = value * (1 - train["lr"] * decay) - update
        return after
