"""Configure the projector of CT-CHAT."""

from __future__ import annotations

from dataclasses import dataclass

from thoracle.errors import InputError
from thoracle.models.config import check_positive


@dataclass(frozen=True, kw_only=True)
class ProjectorConfig:
    """CT-CHAT's attentional pooler and the two layers behind it; `heads` is the only size its file does not hold.

    Attributes:
        places: tokens of a scan, each of which is told where it is by an embedding of its own; 0 for none, as published.
        findings: abnormalities that have a row of their own (`FindingRows`), which needs places; 0 for none, as published.
    """

    queries: int = 256
    dim: int = 512
    dim_context: int = 512
    #: Width of all heads together.
    inner: int = 512
    heads: int = 8
    #: Width of the language model's embeddings.
    hidden: int = 4096
    places: int = 0
    findings: int = 0

    def __post_init__(self) -> None:
        check_positive(self, allow_zero=("places", "findings"))
        if self.findings and not self.places:
            raise InputError("projector.findings needs projector.places", cure="Give how many tokens a scan has.", source="config")
        if self.inner % self.heads:
            raise InputError(
                f"projector.inner {self.inner} is not a multiple of projector.heads {self.heads}",
                cure="Give sizes that divide.",
                source="config",
            )

    @property
    def rows(self) -> int:
        """That stand for a scan."""
        return self.findings + self.queries
