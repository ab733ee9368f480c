"""Compares networks.py and vq16.py with what check-networks.mjs wrote; exit code 1 when one differs."""

import json
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file

import networks
import vq16

folder, failures = Path(sys.argv[1]), 0


def load(name):
    tensors = load_file(folder / f"{name}.safetensors")
    config = json.loads((folder / f"{name}.json").read_text())
    return networks.under(tensors, "weights."), config, tensors


def check(name, got, want, tolerance=1e-4):
    global failures
    off = ((got - want).norm() / want.norm()).item()
    failures += not off <= tolerance
    print(f"{'ok   ' if off <= tolerance else 'FAIL '} {name}: relative difference {off:.1e}, allowed {tolerance:.0e}")


with torch.no_grad():
    w, config, t = load("autonat")
    for tokens, rows, want in (("first", "some", "one"), ("second", "more", "two")):
        logits = networks.autonat(w, config, t[tokens], t["labels"])
        check(f"autonat, {tokens} step", networks.rows_of(logits, t[rows]), t[want])
    w, config, t = load("enat")
    blocks = networks.enat_blocks(w, config)
    one, state = networks.enat(w, blocks, config, t["first"], t["labels"], 40)
    check("enat, first step", networks.rows_of(one, t["some"]), t["one"])
    two, _ = networks.enat(w, blocks, config, t["second"], t["labels"], 24, state)
    check("enat, second step", networks.rows_of(two, t["more"]), t["two"])

    w, config, t = load("gpt")
    n = t["tokens"].shape[1]
    condition = w["cls_embedding.embedding_table.weight"][t["labels"]].unsqueeze(1)
    x = torch.cat([condition, w["tok_embeddings.weight"][t["tokens"][:, :-1]]], 1)
    table = networks.rope_table(config, "cpu")
    check("gpt", networks.gpt(w, config, x, table[:n]), t["logits"])
    heads, width = config["numHeads"], config["embedDim"] // config["numHeads"]
    cache = torch.zeros(2, config["depth"], 2, heads, n, width)
    causal = torch.ones(n, n, dtype=torch.bool).tril()
    steps = []
    for i in range(n):
        at = torch.tensor([i])
        steps.append(networks.gpt(w, config, x[:, i : i + 1], table[at], cache, at, causal[at].view(1, 1, 1, n)))
    check("gpt, step by step", torch.cat(steps, 1), t["logits"])

    w, config, t = load("vq")
    same = (vq16.encode(w, config, t["images"]) == t["ids"]).float().mean().item()
    failures += same < 0.99
    print(f"{'ok   ' if same >= 0.99 else 'FAIL '} vq, encode: {100 * same:.1f} % of the tokens equal")
    check("vq, decode", vq16.decode(w, config, t["ids"]), t["decoded"])
sys.exit(failures > 0)
