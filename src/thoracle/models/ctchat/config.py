"""Configure the projector of CT-CHAT."""

from __future__ import annotations

from dataclasses import dataclass

from thoracle.config_reader import NonNegativeInt, PositiveInt, check_fields
from thoracle.errors import InputError


@dataclass(frozen=True, kw_only=True)
class ProjectorConfig:
    """CT-CHAT's attentional pooler and the two layers behind it; `heads` is the only size its file does not hold.

    Attributes:
        queries: learned queries, each of which gives a token to the language model.
        dim: width of queries.
        dim_context: width of a scan's tokens.
        inner: width of all heads together.
        heads: attention heads; they divide `inner`.
        hidden: width of the language model's embeddings.
        places: tokens of a scan, each of which has a position embedding; 0 for none, as published.
        findings: abnormalities that have a token of their own (`FindingRows`), which needs `places`; 0 for none, as published.
    """

    queries: PositiveInt = 256
    dim: PositiveInt = 512
    dim_context: PositiveInt = 512
    inner: PositiveInt = 512
    heads: PositiveInt = 8
    hidden: PositiveInt = 4096
    places: NonNegativeInt = 0
    findings: NonNegativeInt = 0

    def __post_init__(self) -> None:
        check_fields(self)
        if self.findings and not self.places:
            raise InputError("findings needs places", cure="Give how many tokens a scan has.", source="projector")
        if self.inner % self.heads:
            raise InputError(
                f"inner {self.inner} is not a multiple of heads {self.heads}", cure="Give sizes that divide.", source="projector"
            )

    @property
    def rows(self) -> int:
        """That stand for a scan."""
        return self.findings + self.queries
