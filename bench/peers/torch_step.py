#!/usr/bin/env python3
"""One model in PyTorch, timed on demand. Started by run.py, which talks to it by lines of JSON on stdin and stdout:

    {"loss": "tokens.u16"}   -> {"loss": nats a token}, in f32
    {"time": 20}             -> {"ms": milliseconds a step, "peak_bytes": ..., "ready": true}

    torch_step.py CHECKPOINT --device cuda|cpu --mode eager|compile|graph --precision f32|tf32|bf16 --batch B --threads N
"""
import argparse
import contextlib
import json
import sys
import time

import torch

import torch_model


class Step:
    """A whole training step: forward, backward, clipping, AdamW."""

    def __init__(self, args, model, vocabulary, context):
        self.args, self.model, self.device = args, model, torch.device(args.device)
        self.optimizer = torch_model.optimizer_of(model, 1e-3, 0.95, 0.1, args.mode == "graph")
        if model.sources and args.mode != "eager" and args.device == "cuda":
            model.layers[-1].mixer.leave_out_blocks(context, self.device)
        self.forward = model if args.mode == "eager" else torch.compile(model)
        generator = torch.Generator().manual_seed(1)
        self.tokens = torch.randint(vocabulary, (args.batch, context + 1), generator=generator).to(self.device)
        self.graph = None

    def precision(self):
        if self.args.precision != "bf16":
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, torch.bfloat16)

    def run(self):
        with self.precision():
            loss = self.forward(self.tokens[:, :-1], self.tokens[:, 1:])
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0, foreach=True)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=self.graph is None and self.args.mode != "graph")

    def prepare(self):
        if self.args.mode != "graph":
            for _ in range(5):
                self.run()
            return
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(5):
                self.run()
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self.run()
        self.graph = graph

    def time(self, steps):
        on_gpu = self.device.type == "cuda"
        if on_gpu:
            if self.graph is None:  # a graph's memory was taken when it was captured, and counts from there
                torch.cuda.reset_peak_memory_stats()
            torch.cuda.synchronize()
        start = time.perf_counter()
        for _ in range(steps):
            self.graph.replay() if self.graph is not None else self.run()
        if on_gpu:
            torch.cuda.synchronize()
        ms = (time.perf_counter() - start) * 1e3 / steps
        return {"ms": ms, "peak_bytes": torch.cuda.max_memory_allocated() if on_gpu else None}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--mode", choices=("eager", "compile", "graph"), default="eager")
    parser.add_argument("--precision", choices=("f32", "tf32", "bf16"), default="f32")
    parser.add_argument("--batch", type=int, required=True)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.set_flush_denormal(True)
    torch.manual_seed(1)
    model = torch_model.load(args.checkpoint).to(args.device)
    config = json.load(open(f"{args.checkpoint}/config.json", encoding="utf-8"))
    step = None
    for line in sys.stdin:
        request = json.loads(line)
        if "loss" in request:
            torch.set_float32_matmul_precision("highest")
            ids = torch.frombuffer(bytearray(open(request["loss"], "rb").read()), dtype=torch.uint16).to(torch.int32)
            answer = {"loss": torch_model.mean_loss(model, ids.to(args.device), config["context"])}
        else:
            torch.set_float32_matmul_precision("high" if args.precision == "tf32" else "highest")
            if step is None:
                step = Step(args, model, config["vocab_size"], config["context"])
                step.prepare()
            answer = step.time(request["time"])
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
