from __future__ import annotations

from tests.inference.conftest import regions_dir

__all__ = ["regions_dir"]
