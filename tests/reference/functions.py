"""The functions that several parts of the model share, each written as its formula."""

import math

import torch


def below(p, prefix):
    """The parameters whose names begin with the prefix, without it."""
    return {name[len(prefix) :]: value for name, value in p.items() if name.startswith(prefix)}


def linear(p, name, x):
    """y = x Wᵀ + b, with W = name.weight [out, in]; without a bias when the model has none of that name."""
    y = x @ p[name + ".weight"].T
    return y + p[name + ".bias"] if name + ".bias" in p else y


def silu(x):
    return x / (1 + torch.exp(-x))


def gelu(x):
    """The tanh form: ½ x (1 + tanh(√(2/π) (x + 0.044715 x³)))."""
    return 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def gelu_erf(x):
    return 0.5 * x * (1 + torch.erf(x / math.sqrt(2)))


def relu(x):
    return torch.where(x > 0, x, torch.zeros_like(x))


def softplus(x):
    """log(1 + eˣ), and x itself above 20."""
    return torch.where(x > 20, x, torch.log1p(torch.exp(torch.clamp(x, max=20))))


def softmax(scores):
    """Along the last axis. The largest score is taken off first: it changes nothing but keeps e to the power finite."""
    powers = torch.exp(scores - scores.max(dim=-1, keepdim=True).values.detach())
    return powers / powers.sum(dim=-1, keepdim=True)


def norm(config, p, name, x):
    """LayerNorm: w (x − mean)/√(variance + eps) + b, biased variance. RMSNorm: w x/√(mean x² + eps)."""
    if config["norm"] == "layernorm":
        x = x - x.mean(dim=-1, keepdim=True)
    y = p[name + ".weight"] * x / torch.sqrt((x * x).mean(dim=-1, keepdim=True) + config["norm_eps"])
    return y + p[name + ".bias"] if name + ".bias" in p else y


def rope(x, t, theta):
    """Rotates x [B, dh] of token t: the pair (i, i + dh/2) turns by the angle t θ^(−2i/dh)."""
    dh = x.shape[-1]
    i = torch.arange(dh // 2, dtype=torch.float64)
    angle = t * theta ** (-2 * i / dh)
    first, second = x[:, : dh // 2], x[:, dh // 2 :]
    cos, sin = torch.cos(angle), torch.sin(angle)
    return torch.cat([first * cos - second * sin, first * sin + second * cos], dim=-1)
