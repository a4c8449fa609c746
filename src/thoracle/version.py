"""Hold Thoracle's version, which every document that is written names."""

from __future__ import annotations

__version__ = "0.1.0"  # read by the build as text: no annotation
