#!/usr/bin/env python3
"""The training step of `mixgrad bench train` in PyTorch: the same decoder, batch, clipping and AdamW, in f32 on the CPU; with
--matmul-precision medium PyTorch may round the operands of f32 products to bf16, with --autocast they are bf16.

Prints one JSON object: {"ms_per_step": median, "best_ms": ..., "threads": ..., "torch": version}.
"""
import argparse
import json
import math
import statistics
import time

import torch
from torch import nn
from torch.nn import functional as F


class Block(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width, bias=False), nn.LayerNorm(width, bias=False)
        self.qkv, self.o = nn.Linear(width, 3 * width, bias=False), nn.Linear(width, width, bias=False)
        self.up, self.down = nn.Linear(width, 4 * width, bias=False), nn.Linear(4 * width, width, bias=False)

    def forward(self, x):
        b, t, d = x.shape
        q, k, v = (z.view(b, t, self.heads, -1).transpose(1, 2) for z in self.qkv(self.norm1(x)).split(d, dim=2))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.o(y.transpose(1, 2).reshape(b, t, d))
        return x + self.down(F.gelu(self.up(self.norm2(x)), approximate="tanh"))


class Decoder(nn.Module):
    def __init__(self, vocabulary, context, width, heads, layers):
        super().__init__()
        self.embed, self.pos = nn.Embedding(vocabulary, width), nn.Embedding(context, width)
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(layers))
        self.norm = nn.LayerNorm(width, bias=False)
        for p in self.parameters():
            if p.dim() > 1:
                nn.init.normal_(p, 0, 0.02)

    def forward(self, tokens, targets):
        x = self.embed(tokens) + self.pos.weight[: tokens.shape[1]]
        for block in self.blocks:
            x = block(x)
        logits = F.linear(self.norm(x), self.embed.weight)
        return F.cross_entropy(logits.view(-1, logits.shape[-1]), targets.view(-1))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    for name, value in (("layers", 4), ("d-model", 128), ("heads", 4), ("context", 64), ("vocab", 65), ("batch", 12),
                        ("rounds", 20), ("threads", 2)):
        parser.add_argument("--" + name, type=int, default=value)
    parser.add_argument("--compile", action="store_true", help="torch.compile the model")
    parser.add_argument("--matmul-precision", choices=("highest", "high", "medium"), default="highest")
    parser.add_argument("--autocast", action="store_true", help="torch.autocast to bf16 in the forward pass")
    args = parser.parse_args()
    torch.set_float32_matmul_precision(args.matmul_precision)
    torch.set_num_threads(args.threads)
    torch.set_flush_denormal(True)
    torch.manual_seed(1)
    model = Decoder(args.vocab, args.context, args.d_model, args.heads, args.layers)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, betas=(0.9, 0.95), weight_decay=0.1, fused=True)
    forward = torch.compile(model) if args.compile else model
    tokens = torch.randint(args.vocab, (args.batch, args.context + 1))
    times = []
    for i in range(args.rounds + 5):
        start = time.perf_counter()
        with torch.autocast("cpu", torch.bfloat16, enabled=args.autocast):
            loss = forward(tokens[:, :-1].contiguous(), tokens[:, 1:].contiguous())
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if i >= 5:
            times.append((time.perf_counter() - start) * 1e3)
    assert math.isfinite(loss.item())
    print(json.dumps({"ms_per_step": statistics.median(times), "best_ms": min(times), "threads": args.threads,
                      "torch": torch.__version__}))


if __name__ == "__main__":
    main()
