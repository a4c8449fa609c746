"""A straight rendering of the published CT-CLIP forward pass, over a state dict: the rival of `detect.py` and the oracle of the tests.

Written to be read beside the published description, not to be fast: attention by einsum, the position bias over every pair of patches, the
codebook by one-hot matrices, the convolution channels first. It shares no code with `thoracle`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from thoracle.models.ctclip.config import CTCLIPConfig, CTViTConfig
from thoracle.models.text.config import TextConfig

Weights = dict[str, Tensor]


@dataclass(frozen=True)
class NaiveTokens:
    before_codebook: Tensor
    indices: Tensor
    tokens: Tensor


def under(weights: Weights, prefix: str) -> Weights:
    """The entries below a prefix, without it."""
    return {key.removeprefix(prefix): value for key, value in weights.items() if key.startswith(prefix)}


def encode_volume(
    weights: Weights, config: CTViTConfig, volume: Tensor, *, timed: Callable[[str], None] = lambda stage: None
) -> NaiveTokens:
    """Weights without `visual_transformer.`; `timed` is told when a stage is over."""
    x = patch_embedding(weights, config, volume)
    shape = B, T, h, w, D = x.shape
    timed("patch embedding")
    bias = position_bias(under(weights, "spatial_rel_pos_bias.net."), (h, w))
    x = stack(under(weights, "enc_spatial_transformer."), config, x.reshape(B * T, h * w, D), shape, bias)
    timed("spatial")
    x = x.reshape(B, T, h, w, D).permute(0, 2, 3, 1, 4).reshape(B * h * w, T, D)
    x = stack(under(weights, "enc_temporal_transformer."), config, x, shape, None)
    x = x.reshape(B, h, w, T, D).permute(0, 3, 1, 2, 4).reshape(B, T * h * w, D)
    timed("temporal")
    tokens, indices = codebook(weights["vq._codebook.embed"][0], x)
    timed("codebook")
    return NaiveTokens(before_codebook=x, indices=indices, tokens=tokens.reshape(shape))


def patch_embedding(weights: Weights, config: CTViTConfig, volume: Tensor) -> Tensor:
    p, pt, g = config.patch_size, config.temporal_patch_size, config.grid
    x = volume.reshape(len(volume), 1, -1, pt, g, p, g, p).permute(0, 2, 4, 6, 1, 3, 5, 7).flatten(4)
    x = layer_norm(x, weights, "to_patch_emb.1")
    x = x @ weights["to_patch_emb.2.weight"].T + weights["to_patch_emb.2.bias"]
    return layer_norm(x, weights, "to_patch_emb.3")


def position_bias(weights: Weights, grid: tuple[int, int]) -> Tensor:
    """Weights without `spatial_rel_pos_bias.net.`; (heads, h w, h w)."""
    like = weights["0.0.weight"]
    position = torch.cartesian_prod(torch.arange(grid[0]), torch.arange(grid[1])).to(like.dtype)
    x = position[:, None] - position[None]
    x = torch.sign(x) * torch.log(x.abs() + 1)
    for layer in ("0.0", "1.0"):
        x = F.leaky_relu(x @ weights[f"{layer}.weight"].T + weights[f"{layer}.bias"], 0.1)
    return (x @ weights["2.weight"].T + weights["2.bias"]).permute(2, 0, 1)


def stack(weights: Weights, config: CTViTConfig, x: Tensor, shape: tuple[int, ...], bias: Tensor | None) -> Tensor:
    depth = 1 + max(int(key.split(".")[1]) for key in weights if key.startswith("layers."))
    for i in range(depth):
        layer = under(weights, f"layers.{i}.")
        x = x + position_convolution(layer, x, shape)
        x = x + attention(under(layer, "1."), config, x, bias)
        x = x + feed_forward(under(layer, "3."), x)
    return F.layer_norm(x, x.shape[-1:], weights["norm_out.gamma"], weights["norm_out.beta"])


def position_convolution(layer: Weights, x: Tensor, shape: tuple[int, ...]) -> Tensor:
    y = F.pad(x.reshape(shape).permute(0, 4, 1, 2, 3).contiguous(), (1, 1, 1, 1, 2, 0))
    y = F.conv3d(y, layer["0.dsconv.weight"], layer["0.dsconv.bias"], groups=shape[-1])
    return y.permute(0, 2, 3, 4, 1).reshape(x.shape)


def attention(weights: Weights, config: CTViTConfig, x: Tensor, bias: Tensor | None) -> Tensor:
    normed = F.layer_norm(x, x.shape[-1:], weights["norm.gamma"], weights["norm.beta"])
    q = normed @ weights["to_q.weight"].T
    k, v = (x @ weights["to_kv.weight"].T).chunk(2, dim=-1)
    q, k, v = (part.reshape(*x.shape[:2], config.heads, config.dim_head).permute(0, 2, 1, 3) for part in (q, k, v))
    q, k = F.normalize(q, dim=-1) * weights["q_scale"], F.normalize(k, dim=-1) * weights["k_scale"]
    logits = torch.einsum("bhid,bhjd->bhij", q, k) * 8
    if bias is not None:
        logits = logits + bias
    out = torch.einsum("bhij,bhjd->bhid", logits.softmax(dim=-1), v)
    return out.permute(0, 2, 1, 3).reshape(*x.shape[:2], -1) @ weights["to_out.weight"].T


def feed_forward(weights: Weights, x: Tensor) -> Tensor:
    value, gate = (layer_norm(x, weights, "0") @ weights["1.weight"].T).chunk(2, dim=-1)
    return (F.gelu(gate) * value) @ weights["4.weight"].T


def codebook(embed: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    similarity = F.normalize(x, dim=-1) @ F.normalize(embed, dim=-1).T
    one_hot = F.one_hot(similarity.argmax(dim=-1), len(embed)).to(x.dtype)
    return torch.einsum("bnk,kd->bnd", one_hot, embed), one_hot.argmax(dim=-1)


def encode_text(weights: Weights, config: TextConfig, ids: Tensor, mask: Tensor) -> Tensor:
    """Weights without `text_transformer.`; hidden states of BERT's last layer."""
    x = weights["embeddings.word_embeddings.weight"][ids] + weights["embeddings.position_embeddings.weight"][: ids.shape[1]]
    x = layer_norm(x + weights["embeddings.token_type_embeddings.weight"][0], weights, "embeddings.LayerNorm", eps=config.layer_norm_eps)
    for i in range(config.num_hidden_layers):
        layer = under(weights, f"encoder.layer.{i}.")
        q, k, v = (
            dense(layer, f"attention.self.{name}", x).unflatten(-1, (config.num_attention_heads, -1)).transpose(1, 2)
            for name in ("query", "key", "value")
        )
        logits = (
            torch.einsum("bhid,bhjd->bhij", q, k) / q.shape[-1] ** 0.5 + (1 - mask[:, None, None].to(x.dtype)) * torch.finfo(x.dtype).min
        )
        heard = torch.einsum("bhij,bhjd->bhid", logits.softmax(dim=-1), v).transpose(1, 2).flatten(2)
        x = layer_norm(dense(layer, "attention.output.dense", heard) + x, layer, "attention.output.LayerNorm", eps=config.layer_norm_eps)
        hidden = F.gelu(dense(layer, "intermediate.dense", x))
        x = layer_norm(dense(layer, "output.dense", hidden) + x, layer, "output.LayerNorm", eps=config.layer_norm_eps)
    return x


def text_latent(weights: Weights, config: CTCLIPConfig, ids: Tensor, mask: Tensor) -> Tensor:
    hidden = encode_text(under(weights, "text_transformer."), config.bert, ids, mask)
    return F.normalize(hidden[:, 0] @ weights["to_text_latent.weight"].T, dim=-1)


def image_latent(weights: Weights, tokens: Tensor) -> Tensor:
    return F.normalize(tokens.mean(dim=1).flatten(1) @ weights["to_visual_latent.weight"].T, dim=-1)


def dense(weights: Weights, name: str, x: Tensor) -> Tensor:
    return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]


def layer_norm(x: Tensor, weights: Weights, name: str, *, eps: float = 1e-5) -> Tensor:
    return F.layer_norm(x, x.shape[-1:], weights[f"{name}.weight"], weights[f"{name}.bias"], eps)
