"""Configure a classifier on the tokens of any encoder."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from thoracle.errors import InputError

HeadKind = Literal["linear", "attention", "label-attention"]


@dataclass(frozen=True, kw_only=True)
class TokenClassifierConfig:
    """Configure an encoder and a head on its tokens.

    Attributes:
        head: "linear" on the mean of tokens, on their mean by "attention" of one query, or "label-attention", of a query a label.
        labels: in the order of logits.
        encoder_kind: of the encoder.
        encoder: its configuration, of that kind.
    """

    head: HeadKind = "linear"
    labels: tuple[str, ...]
    encoder_kind: str
    encoder: Any = None

    def __post_init__(self) -> None:
        if not self.labels:
            raise InputError("a classifier has labels", hint="Name them.", source="config")
