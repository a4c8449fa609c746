"""Configure a BERT-shaped text encoder."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from thoracle.config_reader import Fraction, NonNegativeInt, PositiveFloat, PositiveInt, check_fields
from thoracle.errors import InputError


@dataclass(frozen=True, kw_only=True)
class TextConfig:
    """Configure a BERT-shaped text encoder; names and defaults are those of `transformers.BertConfig`, dropout included.

    Attributes:
        vocab_size: words of the tokenizer.
        hidden_size: width of tokens.
        num_hidden_layers: layers.
        num_attention_heads: attention heads; they divide hidden_size.
        intermediate_size: width inside a layer's MLP.
        max_position_embeddings: positions that have an embedding.
        type_vocab_size: kinds of sentence that have an embedding.
        layer_norm_eps: added to the variance in LayerNorm.
        hidden_dropout_prob: dropout of states.
        attention_probs_dropout_prob: dropout of attention weights.
        pad_token_id: id of padding.
        position_scheme: "bert" counts positions from 0; "roberta" from pad_token_id + 1 over tokens that are not padding.
        attention_window: tokens that one sees, as many before it as after it, as a Longformer without global attention; null sees all.
        cls_source: state of the first token that a report classifier reads: through BERT's pooler, as published, or "hidden", as it is,
            which CT-CLIP reads.
    """

    vocab_size: PositiveInt = 30522
    hidden_size: PositiveInt = 768
    num_hidden_layers: PositiveInt = 12
    num_attention_heads: PositiveInt = 12
    intermediate_size: PositiveInt = 3072
    max_position_embeddings: PositiveInt = 512
    type_vocab_size: PositiveInt = 2
    layer_norm_eps: PositiveFloat = 1e-12
    hidden_dropout_prob: Fraction = 0.1
    attention_probs_dropout_prob: Fraction = 0.1
    pad_token_id: NonNegativeInt = 0
    position_scheme: Literal["bert", "roberta"] = "bert"
    attention_window: PositiveInt | None = None
    cls_source: Literal["pooled", "hidden"] = "pooled"

    def __post_init__(self) -> None:
        check_fields(self)
        if self.hidden_size % self.num_attention_heads:
            raise InputError(
                f"hidden_size {self.hidden_size} is not a multiple of num_attention_heads {self.num_attention_heads}",
                hint="Give sizes that divide.",
                source="bert",
            )

    @property
    def max_tokens(self) -> int:
        """Return the longest text in tokens: RoBERTa's positions begin behind padding's."""
        return self.max_position_embeddings - (self.pad_token_id + 1 if self.position_scheme == "roberta" else 0)
