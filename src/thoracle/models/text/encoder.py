"""The text encoder: BERT (Devlin et al., arXiv:1810.04805), by how positions count RoBERTa (arXiv:1907.11692), and by what a token sees a
Longformer without global attention (arXiv:2004.05150).

Attribute names are the keys of Hugging Face's BertModel and RobertaModel, in which the published weights come.

Shapes: B batch, N tokens, D width, H heads, F width of a head.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from thoracle.models.common.linear import Linear
from thoracle.models.text.config import TextConfig

#: Spread of weights at initialisation: BERT's at its own width, and at others what keeps the spread of sums over the width.
INITIAL_STD = 0.02
_INITIAL_WIDTH = 768
#: Added to the logits of padding: the lowest number of every type a model may be lowered to.
MASKED = -65504.0


@dataclass(frozen=True, kw_only=True, eq=False)
class TextTokens:
    """Hold hidden states of the last layer (B, N, D), and the first token's after a linear map and tanh (B, D)."""

    hidden_BND: Tensor
    pooled_BD: Tensor


class BertEncoder(nn.Module):
    """Apply embeddings, layers of attention and feed-forward, and a pooler, which `hidden_states` alone does not need."""

    def __init__(self, config: TextConfig, *, pooler: bool = True) -> None:
        super().__init__()
        self._window = config.attention_window
        self.embeddings = _Embeddings(config)
        self.encoder = nn.ModuleDict({"layer": nn.ModuleList(TransformerLayer(config) for _ in range(config.num_hidden_layers))})
        if pooler:
            self.pooler = nn.ModuleDict({"dense": Linear(config.hidden_size, config.hidden_size)})
        self.apply(partial(_initialise, std=INITIAL_STD * (_INITIAL_WIDTH / config.hidden_size) ** 0.5))

    def forward(self, input_ids_BN: Tensor, attention_mask_BN: Tensor) -> TextTokens:
        """Encode ids and mask, both (B, N), integers; the mask is 1 for tokens and 0 for padding. Token types are all 0."""
        x_BND = self.hidden_states(input_ids_BN, attention_mask_BN)
        return TextTokens(hidden_BND=x_BND, pooled_BD=self.pooler["dense"](x_BND[:, 0]).to(x_BND.dtype).tanh())

    def hidden_states(self, input_ids_BN: Tensor, attention_mask_BN: Tensor) -> Tensor:
        """Compute the hidden states of the last layer (B, N, D)."""
        x_BND: Tensor = self.embeddings(input_ids_BN)
        hidden_B1NN = (attention_mask_BN == 0)[:, None, None]
        if self._window is not None:
            index_N = torch.arange(x_BND.shape[1], device=x_BND.device)
            hidden_B1NN = hidden_B1NN | ((index_N[:, None] - index_N).abs() > self._window // 2)
        # Not -inf, which makes a row of nothing but padding NaN.
        mask_B1NN = torch.zeros_like(hidden_B1NN, dtype=x_BND.dtype).masked_fill(hidden_B1NN, MASKED)
        for layer in cast(nn.ModuleList, self.encoder["layer"]):
            x_BND = layer(x_BND, mask_B1NN)
        return x_BND


def first_token(encoder: BertEncoder, input_ids_BN: Tensor, attention_mask_BN: Tensor) -> Tensor:
    """Return the first token's last hidden state (B, D). Columns that are padding in every row are not computed."""
    # A plan's mask has a shape and no values, and its storage is nowhere.
    planned = attention_mask_BN.untyped_storage().device.type == "meta"
    longest = attention_mask_BN.shape[1] if planned else int(attention_mask_BN.any(dim=0).nonzero().max()) + 1
    encoded: TextTokens = encoder(input_ids_BN[:, :longest], attention_mask_BN[:, :longest])
    return encoded.hidden_BND[:, 0]


class _Embeddings(nn.Module):
    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self.word_embeddings = nn.Embedding(config.vocab_size, config.hidden_size)
        self.position_embeddings = nn.Embedding(config.max_position_embeddings, config.hidden_size)
        self.token_type_embeddings = nn.Embedding(config.type_vocab_size, config.hidden_size)
        self.LayerNorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)
        self._padding = config.pad_token_id if config.position_scheme == "roberta" else None

    def forward(self, ids_BN: Tensor) -> Tensor:
        x_BND = self.word_embeddings(ids_BN) + self.position_embeddings(self._positions(ids_BN)) + self.token_type_embeddings.weight[0]
        return cast(Tensor, self.dropout(self.LayerNorm(x_BND)))

    def _positions(self, ids_BN: Tensor) -> Tensor:
        if self._padding is None:
            return torch.arange(ids_BN.shape[1], device=ids_BN.device)
        token_BN = ids_BN != self._padding
        return token_BN.cumsum(dim=1) * token_BN + self._padding


class TransformerLayer(nn.Module):
    """Apply attention, then two linear maps, each with its input added and the sum normed."""

    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        dim = config.hidden_size
        self.attention = nn.ModuleDict({"self": _SelfAttention(config), "output": _Residual(dim, config)})
        self.intermediate = nn.ModuleDict({"dense": Linear(dim, config.intermediate_size)})
        self.output = _Residual(config.intermediate_size, config)

    def forward(self, x_BND: Tensor, mask_B1NN: Tensor) -> Tensor:
        """Return the size of x; the mask is added to attention's logits, and may be one row for all."""
        x_BND = self.attention["output"](self.attention["self"](x_BND, mask_B1NN), x_BND)
        return cast(Tensor, self.output(F.gelu(self.intermediate["dense"](x_BND)), x_BND))


class _SelfAttention(nn.Module):
    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self.heads, self.dropout = config.num_attention_heads, config.attention_probs_dropout_prob
        self.query, self.key, self.value = (Linear(config.hidden_size, config.hidden_size) for _ in range(3))

    def forward(self, x_BND: Tensor, mask_B1NN: Tensor) -> Tensor:
        q_BHNF, k_BHNF, v_BHNF = (
            project(x_BND).unflatten(-1, (self.heads, -1)).transpose(1, 2) for project in (self.query, self.key, self.value)
        )
        dropout = self.dropout if self.training else 0.0
        out_BHNF = F.scaled_dot_product_attention(q_BHNF, k_BHNF, v_BHNF, attn_mask=mask_B1NN.to(q_BHNF.dtype), dropout_p=dropout)
        return out_BHNF.transpose(1, 2).flatten(2)


class _Residual(nn.Module):
    """Linear, dropout, the layer's input added, LayerNorm."""

    def __init__(self, width: int, config: TextConfig) -> None:
        super().__init__()
        self.dense = Linear(width, config.hidden_size)
        self.LayerNorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)

    def forward(self, x: Tensor, residual_BND: Tensor) -> Tensor:
        return cast(Tensor, self.LayerNorm(self.dropout(self.dense(x)) + residual_BND))


def _initialise(module: nn.Module, *, std: float) -> None:
    if isinstance(module, nn.Linear | nn.Embedding):
        nn.init.normal_(module.weight, std=std)
    if isinstance(module, nn.Linear):
        nn.init.zeros_(module.bias)
