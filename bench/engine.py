"""The cases of engine.mjs in PyTorch: a name a line on stdin, seconds of one call (or "none") a line on stdout.

Each case has the block length that one warm-up block chose, as in measure.mjs.
"""

import sys
import time

import torch

CHAIN = 1000
MATRIX = 1024
BLOCK_SECONDS = 0.25

threads, path = int(sys.argv[1]), sys.argv[2]
torch.set_num_threads(threads)
one = torch.tensor([1.0])
weight = torch.tensor([1.0], requires_grad=True)
a, b = torch.rand(MATRIX, MATRIX), torch.rand(MATRIX, MATRIX)


def chain(x):
    for _ in range(CHAIN):
        x = x.add(one)
    return x


def plain():
    with torch.no_grad():
        chain(one)


def load():
    from safetensors.torch import load_file

    for tensor in load_file(path).values():
        tensor.sum().item()


CASES = {
    "add": plain,
    "add, recorded": lambda: chain(weight),
    "add, recorded and backward": lambda: chain(weight).backward(),
    f"matmul {MATRIX}³": lambda: a.matmul(b),
    "safetensors 64 MiB, mapped and read": load,
}
calls = {}


def seconds_of(run, count):
    began = time.perf_counter()
    for _ in range(count):
        run()
    return (time.perf_counter() - began) / count


def block_length(run):
    run()
    count = 1
    while True:
        seconds = seconds_of(run, count) * count
        if seconds >= BLOCK_SECONDS:
            return count
        count = count * 8 if seconds < BLOCK_SECONDS / 16 else int(count * BLOCK_SECONDS / seconds) + 1


for line in sys.stdin:
    name = line.rstrip("\n")
    run = CASES.get(name)
    try:
        if run is not None and name not in calls:
            calls[name] = block_length(run)
        print("none" if run is None else seconds_of(run, calls[name]), flush=True)
    except ImportError:
        print("none", flush=True)
