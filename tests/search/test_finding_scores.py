"""Probabilities that an index keeps are those that detection gives, and cost no second pass over a volume."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from thoracle.cohort.demographics import Demographics
from thoracle.errors import CapabilityMissing
from thoracle.inference.demo.assets import write_model
from thoracle.inference.model import Model, load
from thoracle.inference.requested_findings import Finding
from thoracle.search.finding_scores import score_findings
from thoracle.search.indexing import latent_settings
from thoracle.search.local.index import LocalIndex, open_for_writing
from thoracle.search.record import IndexedVolume, Record

ASKED = (Finding(name="Pneumothorax"), Finding(name="Rib fracture", prompts=("A rib is broken.", "Ribs are whole.")))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return load(write_model(tmp_path_factory.mktemp("model") / "tiny").path, device="cpu")


def test_they_are_what_detect_gives_and_stay_with_their_volumes(model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    volumes = [np.random.default_rng(seed).normal(-0.5, 0.3, model.preprocess.size).astype(np.float32) for seed in range(3)]
    additions = [
        IndexedVolume(
            record=Record(volume=f"v{seed}", scan=f"s{seed}", accession="", patient="p", facts=Demographics(age=seed)),
            latent_L=model.volume_latent(volume),
            thumbnail=b"" if seed else b"PNG",
        )
        for seed, volume in enumerate(volumes)
    ]
    expected = [
        dict(zip(("Pneumothorax", "Rib fracture"), model.detect(v, abnormalities=ASKED).probabilities, strict=True)) for v in volumes
    ]
    settings = latent_settings(model, key=None)
    with open_for_writing(tmp_path / "index", settings) as index:
        index.add(additions)
        monkeypatch.setattr(model, "encode_volume", None)
        assert score_findings(index, model, ASKED[:1]) == 3
        assert score_findings(index, model, ASKED) == 3, "one more"
        assert score_findings(index, model, ASKED) == 0, "all there"
    index = LocalIndex(tmp_path / "index")
    assert len(index) == 3
    for seed, probabilities in enumerate(expected):
        (number,) = index.ids_where(volume=f"v{seed}")
        record = index.records([number])[number]
        assert dict(record.scores) == pytest.approx(probabilities, rel=1e-5)
        assert record.facts.age == seed
        assert index.thumbnails([number]) == ({} if seed else {number: b"PNG"})
        np.testing.assert_array_equal(index.latents([number])[0], additions[seed].latent_L)
    index.close()


def test_a_model_that_is_not_prompted_scores_nothing(model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model, "capabilities", frozenset(c for c in model.capabilities if c.name != "ZERO_SHOT"))
    with open_for_writing(tmp_path / "index", latent_settings(model, key=None)) as index, pytest.raises(CapabilityMissing):
        score_findings(index, model, ASKED)
