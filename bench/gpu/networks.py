"""The networks of the three families in plain PyTorch, executed as the released code executes them: all positions through
the head, both branches of guidance one after the other, a cache of keys and values written whole. What ours is compared with.

A network is a dict of tensors by official name and functions over it, so the same weights run on both sides
(check_networks.py compares). Written for this comparison; nothing is taken from the released repositories. Plain dicts and
functions, so that torch.compile takes each network whole.

Shapes: B batch, L tokens, D width, V codes.
"""

import math

import torch
import torch.nn.functional as F


def norm(x, w, name, eps):
    return F.layer_norm(x, x.shape[-1:], w[f"{name}.weight"], w[f"{name}.bias"], eps)


def dense(x, w, name):
    return F.linear(x, w[f"{name}.weight"], w.get(f"{name}.bias"))


def mlp(x, w, name, approximate):
    return dense(F.gelu(dense(x, w, f"{name}.fc1"), approximate=approximate), w, f"{name}.fc2")


def embed(ids, positions, w, name):
    total = w[f"{name}.word_embeddings.weight"][ids] + w[f"{name}.position_embeddings.weight"][positions]
    return norm(total, w, f"{name}.LayerNorm", 1e-6)


def attend(q, k, v, num_heads):
    heads = lambda x: x.unflatten(-1, (num_heads, -1)).transpose(1, 2)
    return F.scaled_dot_product_attention(heads(q), heads(k), heads(v)).transpose(1, 2).flatten(2)


def head(x, w, words):
    """Logits of every position, the mask token's too: [B, N, V + 1]."""
    h = norm(F.gelu(dense(norm(x, w, "norm", 1e-5), w, "mlm_layer.fc")), w, "mlm_layer.ln", 1e-5)
    return h @ w[words].detach().t() + w["mlm_layer.bias"]


def autonat(w, config, tokens, labels, dropout=0.0):
    """tokens [B, L], labels [B] to logits [B, L, V]."""
    heads = config["numHeads"]

    def block(x, name):
        q, k, v = dense(norm(x, w, f"{name}.norm1", 1e-5), w, f"{name}.attn.qkv").chunk(3, -1)
        h = x + dense(attend(q, k, v, heads), w, f"{name}.attn.proj")
        return h + mlp(norm(h, w, f"{name}.norm2", 1e-5), w, f"{name}.mlp", "none")

    ids = labels.unsqueeze(1)
    positions = torch.arange(tokens.shape[1], device=tokens.device)
    embedded = F.dropout(embed(tokens, positions, w, "token_emb"), dropout, dropout > 0)
    x = torch.cat([embed(ids, torch.zeros_like(ids), w, "context_embed"), embedded], 1)
    skips = []
    for i in range(config["depth"] // 2):
        x = block(x, f"in_blocks.{i}")
        skips.append(x)
    x = block(x, "mid_block")
    for i in range(config["depth"] // 2):
        x = block(dense(torch.cat([x, skips.pop()], -1), w, f"out_blocks.{i}.skip_linear"), f"out_blocks.{i}")
    return head(x, w, "token_emb.word_embeddings.weight")[:, 1:, : config["codebookSize"]]


def under(w, prefix):
    """The tensors whose name starts so, without it."""
    return {name[len(prefix) :]: tensor for name, tensor in w.items() if name.startswith(prefix)}


def enat_blocks(w, config):
    """The tensors of each block: made once, so that a compiled block knows them again."""
    return [under(w, f"blocks.{i}.") for i in range(config["encoderDepth"] + config["decoderDepth"])]


def enat_block(w, num_heads, x, c, foreign):
    """w: the block's own tensors."""
    parts = dense(F.silu(c), w, "adaLN_modulation.1").unsqueeze(1).chunk(8, -1)
    shift_a, scale_a, shift_f, scale_f, gate_a, shift_m, scale_m, gate_m = parts
    modulated = lambda y, shift, scale: F.layer_norm(y, y.shape[-1:], None, None, 1e-6) * (1 + scale) + shift
    own = modulated(x, shift_a, scale_a)
    both = dense(own, w, "attn.kv.B")
    if foreign is not None:
        both = torch.cat([dense(modulated(foreign, shift_f, scale_f), w, "attn.kv.A"), both], 1)
    k, v = both.chunk(2, -1)
    h = x + gate_a * dense(attend(dense(own, w, "attn.q"), k, v, num_heads), w, "attn.proj")
    return h + gate_m * mlp(modulated(h, shift_m, scale_m), w, "mlp", "tanh")


def rows_of(x, rows):
    return x.gather(1, rows.unsqueeze(-1).expand(-1, -1, x.shape[2]))


def put_rows(x, rows, values):
    return x.scatter(1, rows.unsqueeze(-1).expand(-1, -1, x.shape[2]), values.to(x.dtype))


def first_where(mask, count):
    """Positions where a mask [B, L] is set, `count` of each sample."""
    return mask.logical_not().int().argsort(dim=1, stable=True)[:, :count]


def enat(w, blocks, config, tokens, labels, masked_count, before=None, dropout=0.0, block=enat_block):
    """tokens [B, L], labels [B] to logits [B, L, V] and the state for the next step; before: that of the step before.

    blocks: enat_blocks of w.
    """
    length, encoder, decoder = tokens.shape[1], config["encoderDepth"], config["decoderDepth"]
    run = lambda i, x, foreign: block(blocks[i], config["numHeads"], x, c, foreign)
    c = w["y_embedder.embedding_table.weight"][labels]
    x = embed(tokens, torch.arange(length, device=tokens.device), w, "x_embedder")
    x = F.dropout(x, dropout, dropout > 0)
    masked = tokens == config["codebookSize"]
    visible_count = length - masked_count
    old_count = 0 if before is None else before[2]
    features, old = torch.zeros_like(x), None
    if old_count > 0:
        rows = first_where(before[1].logical_not(), old_count)
        y = rows_of(before[0], rows)
        old = y + mlp(norm(y, w, "prev_proj.norm", 1e-6), w, "prev_proj.mlp", "tanh")
        features = put_rows(features, rows, old)
    if visible_count > old_count:
        fresh = masked.logical_not() if old_count == 0 else masked.logical_not() & before[1]
        rows = first_where(fresh, visible_count - old_count)
        h = rows_of(x, rows)
        for i in range(encoder):
            h = run(i, h, old)
        features = put_rows(features, rows, h)
    visible = None if visible_count == 0 else rows_of(features, first_where(masked.logical_not(), visible_count))
    rows = first_where(masked, masked_count)
    h = rows_of(x, rows)
    for i in range(decoder):
        h = run(encoder + i, h, visible)
    features = put_rows(features, rows, h)
    logits = head(features, w, "x_embedder.word_embeddings.weight")[:, :, : config["codebookSize"]]
    return logits, (features, masked, visible_count)


def sample_nat(predict, steps, batch, length, codes, null_label, device, seed=1):
    """The released loop: both branches at every step, draw and confidence at every position; tokens [B, L]."""
    torch.manual_seed(seed)
    labels = torch.arange(batch, device=device) % null_label
    nulls = torch.full_like(labels, null_label)
    tokens = torch.full((batch, length), codes, device=device)
    states = (None, None)
    for step in steps:
        cond, first = predict(tokens, labels, step["maskedIn"], states[0])
        uncond, second = predict(tokens, nulls, step["maskedIn"], states[1])
        states = (first, second)
        logits = cond.float() + (step["guidanceScale"] - 1) * (cond.float() - uncond.float())
        unknown = tokens == codes
        probabilities = (logits / step["sampleTemperature"]).softmax(-1)
        drawn = (probabilities / torch.empty_like(probabilities).exponential_()).argmax(-1)
        sampled = torch.where(unknown, drawn, tokens)
        score = logits.log_softmax(-1).gather(-1, sampled.unsqueeze(-1)).squeeze(-1)
        gumbel = -torch.log(-torch.log(torch.rand_like(score).clamp(1e-7, 1 - 1e-7)))
        confidence = torch.where(unknown, score, math.inf) + gumbel * step["choiceTemperature"]
        if step["remasked"] == 0:
            return sampled
        cut = confidence.sort(1)[0][:, step["remasked"] - 1 : step["remasked"]]
        tokens = torch.where(confidence <= cut, codes, sampled)
    return sampled


def rms_norm(x, weight, eps):
    wide = x.float()
    return (wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + eps)).type_as(x) * weight


def rope_table(config, device):
    """cos and sin of each pair, a row a position, the condition's of zeros: [1 + n, head width / 2, 2]."""
    side, base = config["gridSize"], config["ropeBase"]
    quarter = config["embedDim"] // config["numHeads"] // 4
    angles = torch.arange(side).float().unsqueeze(1) / base ** (torch.arange(quarter) / quarter)
    grid = torch.cat([angles.unsqueeze(1).expand(-1, side, -1), angles.unsqueeze(0).expand(side, -1, -1)], -1)
    table = torch.stack([grid.cos(), grid.sin()], -1).flatten(0, 1)
    return torch.cat([torch.zeros_like(table[:1]), table]).to(device)


def rotate(x, table):
    """x [B, S, H, K]; table [S, K / 2, 2]."""
    a, b = x.float().unflatten(-1, (-1, 2)).unbind(-1)
    cos, sin = (part.unsqueeze(1) for part in table.unbind(-1))
    return torch.stack([a * cos - b * sin, b * cos + a * sin], -1).flatten(-2).type_as(x)


def gpt(w, config, x, table, cache=None, position=None, mask=None, dropout=0.0):
    """x [B, S, D] to logits [B, S, V]; with a cache [2, depth, B, H, S', K], x is one position, a tensor [1]."""
    eps, heads = config["normEps"], config["numHeads"]
    x = F.dropout(x, dropout, dropout > 0)
    for i in range(config["depth"]):
        name = lambda part: w[f"layers.{i}.{part}.weight"]
        qkv = F.linear(rms_norm(x, name("attention_norm"), eps), name("attention.wqkv"))
        q, k, v = (part.unflatten(-1, (heads, -1)) for part in qkv.chunk(3, -1))
        q, k, v = rotate(q, table).transpose(1, 2), rotate(k, table).transpose(1, 2), v.transpose(1, 2)
        if cache is None:
            attended = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        else:
            cache[0, i].index_copy_(2, position, k)
            cache[1, i].index_copy_(2, position, v)
            attended = F.scaled_dot_product_attention(q, cache[0, i], cache[1, i], attn_mask=mask)
        h = x + F.dropout(F.linear(attended.transpose(1, 2).flatten(2), name("attention.wo")), dropout, dropout > 0)
        y = rms_norm(h, name("ffn_norm"), eps)
        gated = F.silu(F.linear(y, name("feed_forward.w1"))) * F.linear(y, name("feed_forward.w3"))
        x = h + F.dropout(F.linear(gated, name("feed_forward.w2")), dropout, dropout > 0)
    return F.linear(rms_norm(x, w["norm.weight"], eps), w["output.weight"]).float()


def gpt_store(config, batch, device, dtype):
    """What generations of a batch with guidance share: cache, causal mask, rotary table. Old entries are masked, not read."""
    length, heads = config["gridSize"] ** 2, config["numHeads"]
    width = math.ceil((1 + length) / 8) * 8
    shape = (2, config["depth"], 2 * batch, heads, width, config["embedDim"] // heads)
    causal = torch.ones(width, width, device=device, dtype=torch.bool).tril()
    return torch.zeros(shape, device=device, dtype=dtype), causal, rope_table(config, device)


def generate_gpt(step, w, config, batch, guidance, store):
    """The released loop with guidance; tokens [B, n]. step: gpt, or a compiled form of it; store: gpt_store's."""
    cache, causal, table = store
    length, width, device = config["gridSize"] ** 2, causal.shape[0], cache.device
    labels = torch.arange(batch, device=device) % config["numClasses"]
    x = w["cls_embedding.embedding_table.weight"][torch.cat([labels, torch.full_like(labels, config["numClasses"])])]
    tokens = []
    for i in range(length):
        position = torch.full((1,), i, device=device)
        mask = causal[position].view(1, 1, 1, width)
        logits = step(w, config, x.unsqueeze(1), table[position], cache, position, mask)[:, -1].clone()
        cond, uncond = logits.chunk(2)
        probabilities = (uncond + guidance * (cond - uncond)).softmax(-1)
        drawn = (probabilities / torch.empty_like(probabilities).exponential_()).argmax(-1)
        tokens.append(drawn)
        x = w["tok_embeddings.weight"][torch.cat([drawn, drawn])]
    return torch.stack(tokens, 1)
