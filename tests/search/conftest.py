"""Records of nobody with latents of nothing, and an index of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from thoracle.cohort.demographics import Demographics
from thoracle.cohort.reports import Report
from thoracle.search.local.index import LocalIndex, open_for_writing
from thoracle.search.record import IndexedVolume, Record

DIM = 8
_SENTENCES = (
    "Pleural effusion on the left.",
    "No pericardial effusion.",
    "Nodules in the right upper lobe.",
    "The heart is enlarged.",
    "Emphysema in both lungs.",
)

Make = Callable[..., IndexedVolume]


@pytest.fixture(scope="session")
def settings() -> dict[str, Any]:
    """As an index is begun with."""
    return {"model": "m" * 64, "preprocess": {"spacing": [1, 1, 1]}, "precision": "float32", "dim_latent": DIM, "key": None}


@pytest.fixture(scope="session")
def make() -> Make:
    """`make(number)`: volume v1 of scan s1 of patient p0 (two scans each), with findings, labels and facts that differ."""

    def make(number: int, *, words: str = "", **changes: Any) -> IndexedVolume:
        latent = np.random.default_rng(number).standard_normal(DIM).astype(np.float32)
        label = number % 18
        values: dict[str, Any] = {
            "volume": f"v{number}",
            "scan": f"s{number}",
            "accession": f"a{number}",
            "patient": f"p{number // 2}",
            "split": "test" if number % 3 else "valid",
            "report": Report(findings=f"{_SENTENCES[number % 5]} {words}".strip(), impression=_SENTENCES[(number + 1) % 5]),
            "labels": tuple(int(n == label) for n in range(18)),
            "facts": Demographics(
                age=20 + number % 60, sex="FM"[number % 2], date=f"20{10 + number % 10}-03-04", scanner=("GE", "Siemens Force")[number % 2]
            ),
            "source_sha256": f"source{number}",
            "voxels_sha256": f"voxels{number}",
        }
        return IndexedVolume(
            record=Record(**values | changes), latent_L=latent / np.linalg.norm(latent), thumbnail=b"\x89PNG" + latent.tobytes()
        )

    return make


@pytest.fixture
def index(tmp_path: Path, settings: dict[str, Any], make: Make) -> LocalIndex:
    """Of 40 records."""
    with open_for_writing(tmp_path / "index", settings) as begun:
        begun.add([make(number) for number in range(40)])
    return LocalIndex(tmp_path / "index")
