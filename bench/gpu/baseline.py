"""The cases of a part in PyTorch, eager and under torch.compile, a JSON line a result, as ours.mjs prints them.

    node bench/gpu/cases.mjs nat > CASES && python3 bench/gpu/baseline.py CASES [eager|compile ...]

The networks and the order of their work are networks.py's. FROM, DEADLINE and the first lines of cases are measure.mjs's.
DEVICE=cpu rehearses.
"""

import json
import os
import sys
import time
import traceback

import torch

import networks
import vq16

DEVICE = os.environ.get("DEVICE", "cuda")
CUDA = DEVICE != "cpu"
ROUNDS, WARM_UPS, ROUND_SECONDS, LAST_START_SECONDS = (7, 3, 0.25, 12.0) if CUDA else (2, 1, 0.0, 12.0)
LONG_SECONDS, LONG_ROUNDS = 0.7, 3
FROM, DEADLINE = int(os.environ.get("FROM", 0)), float(os.environ.get("DEADLINE", "inf"))
SPOILT = 3  # exit code after a case that failed on a device, see in-turn.mjs
begun = 0
BF16 = torch.bfloat16
torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
if not CUDA:
    torch.set_num_threads(1)


def wait():
    if CUDA:
        torch.cuda.synchronize()


def seconds(run, calls):
    wait()
    began = time.perf_counter()
    for _ in range(calls):
        run()
    wait()
    return (time.perf_counter() - began) / calls


def timed(run):
    if CUDA:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    run()
    first = seconds(run, 1)
    long = first > LONG_SECONDS
    for _ in range(0 if long else WARM_UPS - 1):
        run()
    calls = int(ROUND_SECONDS / first) + 1 if first < ROUND_SECONDS else 1
    began, rounds = time.perf_counter(), [first] if long else []
    while len(rounds) < (min(LONG_ROUNDS, ROUNDS) if long else ROUNDS):
        if len(rounds) > 1 and time.perf_counter() - began > LAST_START_SECONDS:
            break
        rounds.append(seconds(run, calls))
    rounds.sort()
    result = {"seconds": rounds[len(rounds) // 2], "low": rounds[0], "high": rounds[-1]}
    return {**result, "peakBytes": torch.cuda.max_memory_allocated()} if CUDA else result


def report(item, who, body):
    """As measure.mjs's: counted, begun with a line, not begun when it is late."""
    global begun
    index, begun = begun, begun + 1
    if index < FROM:
        return
    about = {key: item[key] for key in ("part", "flops", "bytes", "published") if key in item}
    line = {**about, "case": item["name"], "who": who}
    if time.time() > DEADLINE:
        print(f"left out, no time: {item['name']}, {who}", file=sys.stderr)
        return
    print(json.dumps({"begin": index, **line}), flush=True)
    try:
        print(json.dumps({**line, **body()}), flush=True)
    except Exception as error:
        traceback.print_exc()
        text = str(error).splitlines()[0] if str(error) else ""
        print(json.dumps({**line, "error": f"{type(error).__name__}: {text}"}), flush=True)
        if CUDA:
            sys.exit(SPOILT)


def shapes(family, c):
    """Official names and shapes of what a forward pass reads."""
    D, V, L = c["embedDim"], c["codebookSize"], c["gridSize"] ** 2
    found = {}
    linear = lambda name, out, into, bias=True: found.update(
        {f"{name}.weight": (out, into), **({f"{name}.bias": (out,)} if bias else {})}
    )
    norm = lambda name: found.update({f"{name}.weight": (D,), f"{name}.bias": (D,)})
    table = lambda name, rows: found.update({f"{name}.weight": (rows, D)})

    def mlp(name, hidden):
        linear(f"{name}.fc1", hidden, D)
        linear(f"{name}.fc2", D, hidden)

    if family == "gpt":
        table("cls_embedding.embedding_table", c["numClasses"] + 1)
        table("tok_embeddings", V)
        multiple = c["ffnMultipleOf"]
        hidden = -(-(8 * D // 3) // multiple) * multiple
        for i in range(c["depth"]):
            found[f"layers.{i}.attention_norm.weight"] = found[f"layers.{i}.ffn_norm.weight"] = (D,)
            linear(f"layers.{i}.attention.wqkv", 3 * D, D, False)
            linear(f"layers.{i}.attention.wo", D, D, False)
            linear(f"layers.{i}.feed_forward.w1", hidden, D, False)
            linear(f"layers.{i}.feed_forward.w3", hidden, D, False)
            linear(f"layers.{i}.feed_forward.w2", D, hidden, False)
        found["norm.weight"] = (D,)
        linear("output", V, D, False)
        return found
    hidden = round(D * c["mlpRatio"])
    own = {"enat": "x_embedder", "autonat": "token_emb"}[family]
    for name, rows, places in ((own, V + 1, L),) + ((("context_embed", c["numClasses"] + 1, 1),) if family == "autonat" else ()):
        table(f"{name}.word_embeddings", rows)
        table(f"{name}.position_embeddings", places)
        norm(f"{name}.LayerNorm")
    if family == "enat":
        table("y_embedder.embedding_table", c["numClasses"] + 1)
        norm("prev_proj.norm")
        mlp("prev_proj.mlp", 4 * D)
        for i in range(c["encoderDepth"] + c["decoderDepth"]):
            linear(f"blocks.{i}.attn.q", D, D)
            linear(f"blocks.{i}.attn.kv.A", 2 * D, D)
            linear(f"blocks.{i}.attn.kv.B", 2 * D, D)
            linear(f"blocks.{i}.attn.proj", D, D)
            mlp(f"blocks.{i}.mlp", hidden)
            linear(f"blocks.{i}.adaLN_modulation.1", 8 * D, D)
    else:
        half = c["depth"] // 2
        names = [f"in_blocks.{i}" for i in range(half)] + ["mid_block"] + [f"out_blocks.{i}" for i in range(half)]
        for name in names:
            norm(f"{name}.norm1")
            norm(f"{name}.norm2")
            linear(f"{name}.attn.qkv", 3 * D, D, False)
            linear(f"{name}.attn.proj", D, D)
            mlp(f"{name}.mlp", hidden)
            if name.startswith("out"):
                linear(f"{name}.skip_linear", D, 2 * D)
    norm("norm")
    linear("mlm_layer.fc", D, D)
    norm("mlm_layer.ln")
    found["mlm_layer.bias"] = (1, 1, V + 1)
    return found


def parameters(tensors, trained=False):
    """torch.compile takes parameters for tensors that stay where they are; others it copies into each replayed graph."""
    return {name: torch.nn.Parameter(tensor, requires_grad=trained) for name, tensor in tensors.items()}


last = (None, None)


def weights(item, dtype, trained=False):
    """Of the last configuration, kept: networks are large."""
    global last
    key = json.dumps([item["family"], item["config"], str(dtype), trained])
    if last[0] != key:
        last = (None, None)
        torch.manual_seed(1)
        made = {}
        for name, shape in shapes(item["family"], item["config"]).items():
            flat = len(shape) == 1
            made[name] = torch.ones(shape, device=DEVICE, dtype=dtype) if flat else torch.randn(shape, device=DEVICE, dtype=dtype) * 0.02
        last = (key, parameters(made, trained))
    return last[1]


def compiled(run, who, **options):
    if who != "compile":
        return run
    torch._dynamo.reset()
    torch._dynamo.config.cache_size_limit = 64
    # Without a GPU only that it can be taken whole is rehearsed.
    return torch.compile(run, **options) if CUDA else torch.compile(run, backend="aot_eager", dynamic=options.get("dynamic"), fullgraph=True)


def nat(item, who):
    w, c = weights(item, BF16), item["config"]
    if item["family"] == "enat":
        # Each step has other shapes: the block is compiled for all of them, not the network for each.
        block = compiled(networks.enat_block, who, dynamic=True)
        blocks = networks.enat_blocks(w, c)
        run = lambda *args: networks.enat(w, blocks, c, *args, block=block)
    else:
        one = compiled(lambda tokens, labels: networks.autonat(w, c, tokens, labels), who, mode="reduce-overhead")
        # A replayed graph writes over its last result, and two branches are wanted at a time.
        run = lambda tokens, labels, count, before: (one(tokens, labels).clone(), None)
    sizes = (item["batch"], c["gridSize"] ** 2, c["codebookSize"], c["numClasses"], DEVICE)
    with torch.inference_mode():
        return timed(lambda: networks.sample_nat(run, item["steps"], *sizes))


def generate(item, who):
    w = weights(item, BF16)
    # reduce-overhead replays CUDA graphs: what the released sampler's --compile asks for.
    step = compiled(networks.gpt, who, **({"mode": "reduce-overhead", "fullgraph": True} if CUDA else {}))
    store = networks.gpt_store(item["config"], item["batch"], DEVICE, BF16)
    if who == "compile":  # without it no graph is replayed: the step writes into the cache
        torch._dynamo.mark_static_address(store[0])
    how = (w, item["config"], item["batch"], item["guidanceScale"], store)
    with torch.no_grad():
        return timed(lambda: networks.generate_gpt(step, *how))


def train(item, who):
    most = batch_of_eager(item["name"]) if who == "compile" else None
    for batch in item["batches"]:
        if most is not None and batch > most:
            continue  # a compilation each
        try:
            return {**train_batch(item, who, batch), "batch": batch, "flops": item["flops"] * batch}
        except RuntimeError as error:
            if not any(text in str(error) for text in ("out of memory", "ALLOC_FAILED", "NOT_INITIALIZED")):
                raise
            for tensor in weights(item, torch.float32, True).values():
                tensor.grad = None
        torch.cuda.empty_cache()
    raise RuntimeError("no batch fits")


def batch_of_eager(case):
    """What the eager run before has found, from its lines (EAGER names the file); None where there are none."""
    try:
        with open(os.environ.get("EAGER", "")) as file:
            lines = [json.loads(text) for text in file if text.startswith("{")]
    except OSError:
        return None
    return next((line["batch"] for line in lines if line["case"] == case and "batch" in line), None)


def train_batch(item, who, batch):
    c, family, masked = item["config"], item["family"], item["masked"]
    w = weights(item, torch.float32, True)
    blocks = networks.enat_blocks(w, c) if family == "enat" else None
    average = [tensor.detach().clone() for tensor in w.values()]
    optimizer = torch.optim.AdamW(w.values(), lr=1e-4, betas=(0.9, 0.99), weight_decay=0.03, fused=True)
    length, codes = c["gridSize"] ** 2, c["codebookSize"]
    tokens = torch.randint(codes, (batch, length), device=DEVICE)
    labels = torch.randint(c["numClasses"], (batch,), device=DEVICE)
    mask = torch.rand(batch, length, device=DEVICE).argsort(1) < masked
    table = networks.rope_table(c, DEVICE) if family == "gpt" else None

    def loss_of():
        if family == "gpt":
            condition = w["cls_embedding.embedding_table.weight"][labels].unsqueeze(1)
            x = torch.cat([condition, w["tok_embeddings.weight"][tokens[:, :-1]]], 1)
            logits = networks.gpt(w, c, x, table[:length], dropout=0.1)
            return torch.nn.functional.cross_entropy(logits.flatten(0, 1), tokens.flatten())
        ids = torch.where(mask, codes, tokens)
        if family == "enat":
            logits, _ = networks.enat(w, blocks, c, ids, labels, masked, dropout=0.1)
        else:
            logits = networks.autonat(w, c, ids, labels, dropout=0.1)
        targets = torch.where(mask, tokens, -100).flatten()
        return torch.nn.functional.cross_entropy(logits.flatten(0, 1).float(), targets, label_smoothing=0.1)

    forward = compiled(loss_of, who)

    def step():
        with torch.autocast(DEVICE.split(":")[0], BF16):
            loss = forward()
        loss.backward()
        optimizer.step()
        with torch.no_grad():
            torch._foreach_lerp_(average, [tensor.detach() for tensor in w.values()], 1 - 0.999)
        optimizer.zero_grad(set_to_none=True)

    return timed(step)


def vq(item, who):
    """The tensors come from ours (check-networks.mjs's form), since their shapes follow from a configuration."""
    from safetensors.torch import load_file

    folder = os.environ["VQ_WEIGHTS"]
    with open(f"{folder}/vq.json") as file:
        config = json.load(file)
    w = parameters({name: tensor.to(DEVICE) for name, tensor in load_file(f"{folder}/vq.safetensors").items()})
    images = torch.rand(item["batch"], 3, item["size"], item["size"], device=DEVICE)
    encode = compiled(lambda x: vq16.encode(w, config, x), who)
    decode = compiled(lambda x: vq16.decode(w, config, x), who)
    with torch.inference_mode():
        tokens = vq16.encode(w, config, images)
        return timed((lambda: encode(images)) if item["way"] == "encode" else (lambda: decode(tokens)))


def overhead(item, who):
    one = torch.ones(1, device=DEVICE)

    def chain():
        x = one
        for _ in range(item["chain"]):
            x = x.add(one)

    with torch.no_grad():
        times = timed(chain)
    for key in ("seconds", "low", "high"):
        times[key] /= item["chain"]
    return times


def ceilings(item, who):
    if "side" in item:
        side = item["side"]
        a, b = (torch.randn(side, side, device=DEVICE).to(BF16) for _ in range(2))
        times = timed(lambda: a @ b)
        return {**times, "flopsPerSecond": 2 * side**3 / times["seconds"]}
    x, y = (torch.randn(item["megabytes"] << 18, device=DEVICE) for _ in range(2))
    times = timed(lambda: x.copy_(y))
    return {**times, "bytesPerSecond": 8 * x.numel() / times["seconds"]}


kinds = sys.argv[2:] or ["eager"]
with open(sys.argv[1]) as file:
    items = json.load(file)
for item in items:
    run = globals()[item["part"]]
    for who in kinds:
        if who == "compile" and not item.get("compile", True):
            continue
        report(item, who, lambda: run(item, who))
