"""The inspection document: plain JSON, sizes in millimeters, nobody's name."""

from __future__ import annotations

import json

import numpy as np

from thoracle.ct.chest.quality import assess
from thoracle.ct.inspection import SCHEMA, extent_mm, inspection_json
from thoracle.ct.volume import HounsfieldSource, Provenance, Volume
from thoracle.types import RESEARCH_USE

PROVENANCE = Provenance(
    sha256="0" * 64,
    format="test",
    hounsfield=HounsfieldSource(slope=1.0, intercept=0.0, source="stored", evidence="test"),
    geometry="test",
)


def test_a_document_survives_json_and_says_sizes_and_quality() -> None:
    array = np.full((30, 20, 10), -1000, np.int16)
    volume = Volume(array=array, spacing=(0.75, 1.234, 5.0), affine=np.diag([0.75, 1.234, 5.0, 1.0]), provenance=PROVENANCE)
    quality = assess(volume)
    document = json.loads(json.dumps(inspection_json(volume, quality)))
    assert list(document) == ["schema", "notice", "thoracle", "volume", "quality", "provenance"]
    assert (document["schema"], document["notice"]) == (SCHEMA, RESEARCH_USE)
    expected = {"shape": [30, 20, 10], "spacing_mm": [0.75, 1.234, 5.0], "extent_mm": [22.5, 24.7, 50.0], "dtype": "int16"}
    assert document["volume"] == expected
    assert document["quality"]["is_chest"] is quality.is_chest is False
    assert document["provenance"]["sha256"] == "0" * 64
    assert extent_mm(volume) == (22.5, 24.7, 50.0)
