"""Where the real data is: `THORACLE_DATA` (default `../shared/data`), golden vectors beside it; tests skip, saying so, where it is absent."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

_DATA = Path(os.environ.get("THORACLE_DATA") or Path(__file__).parents[1] / ".." / "shared" / "data").resolve()


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Real scans, reports and broken files."""
    return _present(_DATA)


@pytest.fixture(scope="session")
def golden_dir() -> Path:
    """Vectors of the published models' behaviour."""
    return _present(_DATA.parent / "golden")


def _present(folder: Path) -> Path:
    if not folder.is_dir():
        pytest.skip(f"real data not found at {folder}; set THORACLE_DATA")
    return folder
