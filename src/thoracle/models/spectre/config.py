"""Configure SPECTRE; the default is the size that is published."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from thoracle.config_reader import check_fields

Size = Literal["small", "base", "large"]
#: Widths of the sizes that the package knows.
WIDTHS: Final[dict[Size, int]] = {"small": 384, "base": 768, "large": 1080}


@dataclass(frozen=True, kw_only=True)
class SpectreConfig:
    """Name one of the package's architectures.

    Attributes:
        size: "large" is published.
    """

    size: Size = "large"

    def __post_init__(self) -> None:
        check_fields(self)
