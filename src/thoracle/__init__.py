"""Thoracle reads chest CT together with the words of radiology. Research use only. Not a medical device."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from thoracle.version import __version__

if TYPE_CHECKING:
    from thoracle.ct.preprocess import PreprocessConfig, preprocess
    from thoracle.ct.read import read
    from thoracle.ct.volume import Volume
    from thoracle.inference.findings import Findings
    from thoracle.inference.model import Model, load

__all__ = ["Findings", "Model", "PreprocessConfig", "Volume", "__version__", "load", "preprocess", "read"]

_HOMES = {
    "Findings": "thoracle.inference.findings",
    "Model": "thoracle.inference.model",
    "PreprocessConfig": "thoracle.ct.preprocess",
    "Volume": "thoracle.ct.volume",
    "load": "thoracle.inference.model",
    "preprocess": "thoracle.ct.preprocess",
    "read": "thoracle.ct.read",
}


def __getattr__(name: str) -> Any:
    """Loaded when first asked for, so that `import thoracle` and `thoracle --help` do not wait for torch."""
    if name not in _HOMES:
        raise AttributeError(f"module 'thoracle' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
