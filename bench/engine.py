"""The cases of engine.mjs in PyTorch: a name a line on stdin, seconds of one call (or "none") a line on stdout.

Each case has the block length that one warm-up block chose, and counts its shortest call where engine.mjs does.
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


BATCH, TOKENS, WIDTH, HEADS, CHANNELS, SIDE = 4, 256, 512, 8, 128, 64
F = torch.nn.functional
shapes = [(3 * WIDTH, WIDTH), (WIDTH, WIDTH), (4 * WIDTH, WIDTH), (WIDTH, 4 * WIDTH)]
weights = [(torch.randn(*shape) * 0.02).requires_grad_() for shape in shapes]
tokens = torch.randn(BATCH, TOKENS, WIDTH)


def block():
    qkv, out, up, down = weights
    heads = F.linear(F.layer_norm(tokens, [WIDTH]), qkv).view(BATCH, TOKENS, 3, HEADS, WIDTH // HEADS)
    q, k, v = heads.permute(2, 0, 3, 1, 4).unbind(0)
    merged = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(BATCH, TOKENS, WIDTH)
    h = tokens + F.linear(merged, out)
    return h + F.linear(F.gelu(F.linear(F.layer_norm(h, [WIDTH]), up)), down)


def forward():
    with torch.no_grad():
        block()


def forward_backward():
    block().sum().backward()
    for weight in weights:
        weight.grad = None


kernels = [torch.randn(CHANNELS, CHANNELS, 3, 3) * 0.02 for _ in range(2)]
maps = torch.randn(BATCH, CHANNELS, SIDE, SIDE)


def residual():
    with torch.no_grad():
        h = maps
        for kernel in kernels:
            h = F.conv2d(F.silu(F.group_norm(h, 32)), kernel, padding=1)
        maps + h


matrices = [torch.nn.Parameter(torch.randn(1024, 1024)) for _ in range(32)]
for matrix in matrices:
    matrix.grad = torch.randn(1024, 1024)
optimizer = torch.optim.AdamW(matrices, lr=1e-4, weight_decay=0.01, fused=True)

CASES = {
    "add": plain,
    "add, recorded": lambda: chain(weight),
    "add, recorded and backward": lambda: chain(weight).backward(),
    f"matmul {MATRIX}³": lambda: a.matmul(b),
    "safetensors 64 MiB, mapped and read": load,
    "ViT block, forward": forward,
    "ViT block, forward and backward": forward_backward,
    "VQ encoder block, forward": residual,
    "AdamW step, 33.5 M parameters": optimizer.step,
}
SHORTEST = {"add", "add, recorded", "add, recorded and backward"}
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
        if run is None:
            print("none", flush=True)
        elif name in SHORTEST:
            print(min(seconds_of(run, 1) for _ in range(calls[name])), flush=True)
        else:
            print(seconds_of(run, calls[name]), flush=True)
    except ImportError:
        print("none", flush=True)
