"""LlamaGen's VQ tokenizer in plain PyTorch over a dict of tensors by official name, for the comparison with ours."""

import torch
import torch.nn.functional as F


def conv(x, w, name, **options):
    return F.conv2d(x, w[f"{name}.weight"], w[f"{name}.bias"], **options)


def group_norm(x, w, name, groups):
    return F.group_norm(x, groups, w[f"{name}.weight"], w[f"{name}.bias"], 1e-6)


def res_block(x, w, name, groups):
    h = conv(F.silu(group_norm(x, w, f"{name}.norm1", groups)), w, f"{name}.conv1", padding=1)
    h = conv(F.silu(group_norm(h, w, f"{name}.norm2", groups)), w, f"{name}.conv2", padding=1)
    return h + (conv(x, w, f"{name}.nin_shortcut") if f"{name}.nin_shortcut.weight" in w else x)


def attention_block(x, w, name, groups):
    h = group_norm(x, w, f"{name}.norm", groups)
    q, k, v = (conv(h, w, f"{name}.{part}").flatten(2).transpose(1, 2).unsqueeze(1) for part in "qkv")
    attended = F.scaled_dot_product_attention(q, k, v).squeeze(1).transpose(1, 2).reshape(x.shape)
    return x + conv(attended, w, f"{name}.proj_out")


def half(x, w, config, part, multipliers, blocks, change):
    """Levels of residual blocks, attention at the deepest of them, `change` between two levels."""
    groups = config["groupNormGroups"]
    deepest = len(multipliers) - 1 if part == "encoder" else 0
    for level in range(len(multipliers)):
        for j in range(blocks):
            x = res_block(x, w, f"{part}.conv_blocks.{level}.res.{j}", groups)
            if level == deepest and config["deepestAttention"]:
                x = attention_block(x, w, f"{part}.conv_blocks.{level}.attn.{j}", groups)
        if level < len(multipliers) - 1:
            x = change(x, f"{part}.conv_blocks.{level}")
    return x


def middle(x, w, config, part):
    groups = config["groupNormGroups"]
    x = res_block(x, w, f"{part}.mid.0", groups)
    if config["middleAttention"]:
        x = attention_block(x, w, f"{part}.mid.1", groups)
    return res_block(x, w, f"{part}.mid.2", groups)


def out(x, w, config, part):
    return conv(F.silu(group_norm(x, w, f"{part}.norm_out", config["groupNormGroups"])), w, f"{part}.conv_out", padding=1)


def codes(w, config):
    table = w["quantize.embedding.weight"]
    return F.normalize(table, dim=-1) if config["l2Norm"] else table


def encode(w, config, images):
    """images [N, 3, Y, X] in [0, 1] to tokens [N, L]."""
    down = lambda x, name: conv(F.pad(x, (0, 1, 0, 1)), w, f"{name}.downsample.conv", stride=2)
    x = conv(images * 2 - 1, w, "encoder.conv_in", padding=1)
    x = half(x, w, config, "encoder", config["channelMultipliers"], config["encoderResBlocks"], down)
    latent = conv(out(middle(x, w, config, "encoder"), w, config, "encoder"), w, "quant_conv")
    rows = latent.permute(0, 2, 3, 1).flatten(0, 2)
    table = codes(w, config)
    rows = F.normalize(rows, dim=-1) if config["l2Norm"] else rows
    distances = rows.square().sum(1, keepdim=True) + table.square().sum(1) - 2 * rows @ table.t()
    return distances.argmin(1).view(images.shape[0], -1)


def decode(w, config, tokens):
    """tokens [N, L] of a square grid to images [N, 3, Y, X] in [0, 1]."""
    side = int(tokens.shape[1] ** 0.5)
    up = lambda x, name: conv(F.interpolate(x, scale_factor=2.0, mode="nearest"), w, f"{name}.upsample.conv", padding=1)
    latent = codes(w, config)[tokens].view(tokens.shape[0], side, side, -1).permute(0, 3, 1, 2).contiguous()
    x = conv(conv(latent, w, "post_quant_conv"), w, "decoder.conv_in", padding=1)
    x = half(middle(x, w, config, "decoder"), w, config, "decoder", config["channelMultipliers"][::-1], config["decoderResBlocks"], up)
    return ((out(x, w, config, "decoder") + 1) / 2).clamp(0, 1)
