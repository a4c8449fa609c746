"""Configure a BERT-shaped text encoder."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from thoracle.errors import InputError
from thoracle.models.config import check_positive


@dataclass(frozen=True, kw_only=True)
class TextConfig:
    """A BERT-shaped text encoder; names and defaults are those of `transformers.BertConfig`, dropout included."""

    vocab_size: int = 30522
    hidden_size: int = 768
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    intermediate_size: int = 3072
    max_position_embeddings: int = 512
    type_vocab_size: int = 2
    layer_norm_eps: float = 1e-12
    hidden_dropout_prob: float = 0.1
    attention_probs_dropout_prob: float = 0.1
    pad_token_id: int = 0
    #: "bert" counts positions from 0; "roberta" from pad_token_id + 1 over tokens that are not padding.
    positions: Literal["bert", "roberta"] = "bert"
    #: What a report classifier reads of the first token: its state through BERT's pooler, as published, or the state, as CT-CLIP does.
    first_token: Literal["pooled", "hidden"] = "pooled"

    def __post_init__(self) -> None:
        check_positive(self, allow_zero=("pad_token_id", "hidden_dropout_prob", "attention_probs_dropout_prob"))
        if self.hidden_size % self.num_attention_heads:
            raise InputError(
                f"bert.hidden_size {self.hidden_size} is not a multiple of bert.num_attention_heads {self.num_attention_heads}",
                cure="Give sizes that divide.",
                source="config",
            )
        if self.first_token not in ("pooled", "hidden"):
            raise InputError(f"first_token must be pooled or hidden, is {self.first_token!r}", cure="Correct it.", source="config")

    @property
    def most_tokens(self) -> int:
        """Of one text: RoBERTa's positions begin behind padding's."""
        return self.max_position_embeddings - (self.pad_token_id + 1 if self.positions == "roberta" else 0)
