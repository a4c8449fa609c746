"""Configure the projector of CT-CHAT."""

from __future__ import annotations

from dataclasses import dataclass

from thoracle.config_reader import NonNegativeInt, PositiveInt, check_fields
from thoracle.errors import InputError


@dataclass(frozen=True, kw_only=True)
class ProjectorConfig:
    """Configure CT-CHAT's attentional pooler and the two layers behind it; `heads` is the only size its file does not hold.

    Attributes:
        num_queries: learned queries, each of which gives a token to the language model.
        dim: width of queries.
        dim_context: width of a scan's tokens.
        attention_dim: width of all heads together.
        heads: attention heads; they divide `attention_dim`.
        hidden_size: width of the language model's embeddings.
        num_positions: tokens of a scan, each of which has a position embedding; 0 for none, as published.
        num_findings: abnormalities that have a token of their own (`FindingTokens`), which needs `num_positions`; 0 for none, as published.
    """

    num_queries: PositiveInt = 256
    dim: PositiveInt = 512
    dim_context: PositiveInt = 512
    attention_dim: PositiveInt = 512
    heads: PositiveInt = 8
    hidden_size: PositiveInt = 4096
    num_positions: NonNegativeInt = 0
    num_findings: NonNegativeInt = 0

    def __post_init__(self) -> None:
        check_fields(self)
        if self.num_findings and not self.num_positions:
            raise InputError("num_findings needs num_positions", hint="Give num_positions: how many tokens a scan has.", source="projector")
        if self.attention_dim % self.heads:
            raise InputError(
                f"attention_dim {self.attention_dim} is not a multiple of heads {self.heads}",
                hint="Give sizes that divide.",
                source="projector",
            )

    @property
    def num_tokens(self) -> int:
        """Return the number of tokens that stand for a scan."""
        return self.num_findings + self.num_queries
