#!/usr/bin/env python3
"""A training step of one GPU and of several in PyTorch (DistributedDataParallel), what users compare ours with:

    torchrun --nproc-per-node 2 torch_ddp.py CHECKPOINT --batch 32 --mode compile

`--batch` is that of each GPU. Each process first times steps without the others, then all together. Rank 0 prints
{"apart_ms", "slowest_apart_ms", "together_ms", "scaling"}: medians over rounds, of the steps apart the mean over ranks and the slowest
rank; scaling is that mean over the time together.
"""
import argparse
import json
import os
import statistics
import time
import types

import torch
import torch.distributed

import torch_model
from torch_step import Step


def median_ms(step, rounds, steps):
    step.prepare()
    times = []
    for _ in range(rounds):
        torch.distributed.barrier()
        torch.cuda.synchronize()
        start = time.perf_counter()
        for _ in range(steps):
            step.run()
        torch.cuda.synchronize()
        times.append((time.perf_counter() - start) * 1e3 / steps)
    return statistics.median(times)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint")
    parser.add_argument("--mode", choices=("eager", "compile"), default="compile")
    parser.add_argument("--batch", type=int, required=True)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=20)
    args = parser.parse_args()
    rank = int(os.environ["LOCAL_RANK"])
    torch.cuda.set_device(rank)
    torch.distributed.init_process_group("nccl", device_id=torch.device("cuda", rank))
    torch.manual_seed(1)
    with open(f"{args.checkpoint}/config.json", encoding="utf-8") as file:
        config = json.load(file)
    how = types.SimpleNamespace(device="cuda", mode=args.mode, precision="bf16", batch=args.batch)
    result = {}
    for name in ("apart_ms", "together_ms"):
        model = torch_model.load(args.checkpoint).to("cuda")
        step = Step(how, model, config["vocab_size"], config["context"])
        if name == "together_ms":
            parallel = torch.nn.parallel.DistributedDataParallel(model, device_ids=[rank], gradient_as_bucket_view=True)
            step.forward = parallel if args.mode == "eager" else torch.compile(parallel)
        result[name] = median_ms(step, args.rounds, args.steps)
        del model, step
        torch.cuda.empty_cache()
        if name == "apart_ms":  # GPUs differ by some per cent
            all_times = [None] * torch.distributed.get_world_size()
            torch.distributed.all_gather_object(all_times, result[name])
            result["apart_ms"], result["slowest_apart_ms"] = statistics.mean(all_times), max(all_times)
    result["scaling"] = result["apart_ms"] / result["together_ms"]
    if rank == 0:
        print(json.dumps({key: round(value, 4) for key, value in result.items()}), flush=True)
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main()
