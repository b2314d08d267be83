#!/usr/bin/env python3
"""How far data parallel training scales: step time on N ranks from a few figures.

    scripts/scaling_model.py --parameters 124e6 --step-ms 250 --gb-per-s 20 --latency-us 20
    scripts/scaling_model.py --parameters 0.82e6 --step-ms 92 --gb-per-s 1.2 --latency-us 60 --ranks 1,2 --overlap no
    scripts/scaling_model.py --self-test

Weak scaling: each rank computes the same step. The gradient buffer is cut into buckets; a sum of b bytes over N ranks takes
    t(b) = 2 (N - 1) / N * b / bandwidth + 2 (N - 1) * latency         (a ring; --tree: 2 ceil(log2 N) * latency)
With --overlap yes, bucket i of k is ready when that part of the backward pass (2/3 of a step) has run, and the network takes
one bucket after the other; what it still does after backward is waited for. With --overlap no, all of it is waited for,
which is what mixgrad does on CPUs. Two things make a step on GPUs longer, and are given from a measurement: --last-mb, the MiB of
gradients that are complete only at the very end (the table of tokens, to which the embedding adds last), and --beside, the milliseconds by
which backward grows for each millisecond of sums beside it, since a sum takes multiprocessors from the kernels. Nothing is said of
stragglers: each rank takes exactly --step-ms.
"""
import argparse
import contextlib
import io
import math
import re
import sys


def sum_ms(size, ranks, bandwidth, latency, tree):
    """Milliseconds of a sum of `size` bytes; bandwidth in bytes a ms, latency in ms."""
    if ranks == 1:
        return 0.0
    hops = 2 * math.ceil(math.log2(ranks)) if tree else 2 * (ranks - 1)
    return 2 * (ranks - 1) / ranks * size / bandwidth + hops * latency


def step_ms(ranks, compute, size, bucket, bandwidth, latency, overlap, tree, last=0.0, beside=0.0):
    """Milliseconds of a step, and how many of them it waits for sums: a simulation of the buckets of one step."""
    backward = compute * 2 / 3 if overlap else 0.0
    count = max(1, math.ceil(size / bucket))
    network_free = 0.0  # both without what `beside` adds
    end = compute
    for i in range(count):
        part = min(bucket, size - i * bucket)
        arrived = i * bucket + part  # bytes; those from size - last on arrive at the end of backward
        done = min(1.0, arrived / (size - last)) if arrived <= size - last else 1.0
        ready = end - backward * (1 - done)
        took = sum_ms(part, ranks, bandwidth, latency, tree)
        begin = max(network_free, ready)
        network_free = begin + took
        if overlap and begin < end:  # what is left of backward takes longer
            end += beside * min(took, end - begin)
    total = max(end, network_free)
    return total, total - end


def self_test():
    ring = dict(bandwidth=1e6, latency=0.0, tree=False)
    assert step_ms(1, 100, 4e6, 1e6, overlap=True, **ring) == (100, 0)
    total, waited = step_ms(2, 100, 4e6, 1e6, overlap=False, **ring)
    assert abs(waited - 4) < 1e-9 and abs(total - 104) < 1e-9
    total, waited = step_ms(2, 100, 4e6, 1e6, overlap=True, **ring)
    assert abs(waited - 1) < 1e-9  # the last bucket alone
    assert sum_ms(0, 8, 1e6, 1, False) == 14 and sum_ms(0, 8, 1e6, 1, True) == 6
    total, waited = step_ms(2, 100, 4e6, 1e6, overlap=True, last=2e6, **ring)
    assert abs(waited - 3) < 1e-9  # the last bucket of backward, and half of the gradients behind it
    total, waited = step_ms(2, 100, 4e6, 1e6, overlap=True, beside=0.5, **ring)
    assert abs(waited - 1) < 1e-9 and abs(total - 102.5) < 1e-9  # three of four sums run beside backward
    slow = step_ms(64, 1, 4e6, 1e6, overlap=True, **ring)
    assert slow[0] > 2 * 63 / 64 * 4  # never quicker than the network
    refused = sys.argv[1:] = "--parameters 1e6 --step-ms 10 --gb-per-s 1 --last-mb nan".split()
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            main()
        raise AssertionError(f"{refused} was taken")
    except SystemExit as end:
        assert end.code == 2 and "must be finite" in said.getvalue()
    print("scaling_model: passed")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parameters", type=float, help="numbers of the model")
    parser.add_argument("--step-ms", type=float, help="a step of one rank without the others")
    parser.add_argument("--gb-per-s", type=float, help="bandwidth of a rank, the column any GB/s of `mixgrad bench comm` for large sums")
    parser.add_argument("--latency-us", type=float, default=20.0, help="of one hop")
    parser.add_argument("--bucket-mb", type=float, default=25.0, help="MiB of a bucket")
    parser.add_argument("--bytes", type=int, default=4, choices=(2, 4), help="of a gradient: 4 f32, 2 bf16")
    parser.add_argument("--overlap", choices=("yes", "no"), default="yes")
    parser.add_argument("--last-mb", type=float, default=0.0, help="MiB of gradients that are complete at the end of backward")
    parser.add_argument("--beside", type=float, default=0.0, help="ms by which backward grows for each ms of sums beside it")
    parser.add_argument("--tree", action="store_true", help="latency grows with log2 N")
    parser.add_argument("--ranks", default="1,2,4,8,16,64,256,1024,4096")
    parser.add_argument("--self-test", action="store_true")
    given = parser.parse_args()
    if given.self_test:
        return self_test()
    missing = [name for name in ("parameters", "step_ms", "gb_per_s") if getattr(given, name) is None]
    if missing:
        parser.error("required: " + ", ".join("--" + name.replace("_", "-") for name in missing))
    numbers = [value for value in vars(given).values() if isinstance(value, float)]
    if not all(math.isfinite(value) for value in numbers):
        parser.error("all figures must be finite; got " + ", ".join(f"{value:g}" for value in numbers))
    if not all(getattr(given, name) > 0 for name in ("parameters", "step_ms", "gb_per_s", "bucket_mb")) or min(given.latency_us, given.last_mb, given.beside) < 0:
        parser.error("--parameters, --step-ms, --gb-per-s and --bucket-mb must be above 0, --latency-us, --last-mb and --beside at least 0")
    size = given.parameters * given.bytes
    last = given.last_mb * 2**20
    if last >= size:
        parser.error(f"--last-mb must be less than all gradients, {size / 2**20:.1f} MiB; got {given.last_mb:g}")
    if not re.fullmatch(r"0*[1-9][0-9]*(,0*[1-9][0-9]*)*", given.ranks):
        parser.error(f"--ranks must be positive integers with commas between; got {given.ranks!r}")
    print("ranks   ms a step   of them waiting   scaling")
    for ranks in (int(text) for text in given.ranks.split(",")):
        total, waited = step_ms(ranks, given.step_ms, size, given.bucket_mb * 2**20, given.gb_per_s * 1e6,
                                given.latency_us * 1e-3, given.overlap == "yes", given.tree, last, given.beside)
        print(f"{ranks:5d} {total:11.2f} {waited:17.2f} {given.step_ms / total:9.3f}")
    return None


if __name__ == "__main__":
    sys.exit(main())
