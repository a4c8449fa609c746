"""Format zero-shot prompts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from thoracle.types import ABNORMALITIES

#: Published zero-shot prompts: the first says the abnormality is there, the second that it is not.
PROMPTS: Final = ("{abnormality} is present.", "{abnormality} is not present.")
_ABNORMALITY: Final = "{abnormality}"


def format_prompts(abnormalities: Sequence[str] = ABNORMALITIES, templates: Sequence[str] = PROMPTS) -> list[str]:
    """Fill each template with each abnormality.

    Returns:
        With the published two, row 2k says that abnormality k is present, row 2k + 1 that it is not.
    """
    return [template.replace(_ABNORMALITY, name) for name in abnormalities for template in templates]
