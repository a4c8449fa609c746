"""A cohort through a model into an index: each volume once, under the names of the index, and damage costs only its own."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from thoracle.cohort.demographics import Demographics
from thoracle.cohort.manifest import Cohort, CohortEntry
from thoracle.cohort.pseudonyms import SiteKey
from thoracle.cohort.reports import Report
from thoracle.cohort.samples.volume_cache import pack, read_volume
from thoracle.errors import CapabilityMissing, IndexMismatch
from thoracle.inference.demo.assets import write_model
from thoracle.inference.model import Model, load
from thoracle.inference.requested_findings import Finding
from thoracle.inference.text.text_query import text_query_latents
from thoracle.search.indexing import IndexProgress, encode_queries, index_cohort, index_settings, latent_settings, score_findings, to_record
from thoracle.search.local.index import LocalIndex, open_for_writing
from thoracle.search.record import IndexedVolume, Record
from thoracle.types import ABNORMALITIES

ASKED = (Finding(name="Pneumothorax"), Finding(name="Rib fracture", prompts=("A rib is broken.", "Ribs are whole.")))
KEY = SiteKey(secret=bytes(range(32)))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return load(write_model(tmp_path_factory.mktemp("model") / "tiny").path, device="cpu")


def _entry(number: int, **changes: Any) -> CohortEntry:
    values: dict[str, Any] = {
        "volume": f"V{number}.nii.gz",
        "scan": f"SCAN{number}",
        "patient": f"PAT{number}",
        "split": "valid" if number == 2 else "train",
        "source_sha256": f"source{number}",
        "cache": f"{number}.vol",
        "cache_sha256": f"voxels{number}",
        "report": Report(findings=f"Finding {number}.", impression="Not given."),
        "labels": (1, 0, None) + (0,) * 15,
        "accession": f"ACC{number}",
        "facts": Demographics(age=93, sex="F", date="2019-03-04", scanner="GE"),
    }
    return CohortEntry(**values | changes)


@pytest.fixture
def cohort(model: Model, tmp_path: Path) -> Cohort:
    """Three volumes of noise, the third in "valid"."""
    for number in range(3):
        volume = np.random.default_rng(number).normal(-0.5, 0.1, model.preprocess.size).astype(np.float32)
        (tmp_path / f"{number}.vol").write_bytes(pack(volume, scale=model.preprocess.intensity_scale))
    return Cohort(folder=tmp_path, preprocess=model.preprocess, entries=tuple(map(_entry, range(3))))


def _run(cohort: Cohort, model: Model, key: SiteKey | None = None, **options: Any) -> tuple[LocalIndex, int, list[IndexProgress]]:
    """The index afterwards, how many failed, and what was told."""
    told: list[IndexProgress] = []
    folder = cohort.folder / "index"
    with open_for_writing(folder, index_settings(model, cohort, key)) as index:
        failed = index_cohort(index, cohort, model, key=key, progress=told.append, **options)
    return LocalIndex(folder), failed, told


def test_each_volume_is_there_with_its_latent_its_record_and_its_picture(cohort: Cohort, model: Model) -> None:
    index, failed, told = _run(cohort, model)
    assert (failed, len(index)) == (0, 3)
    assert told[-1] == IndexProgress(completed=3, total=3, before=0)
    for entry in cohort.entries:
        (number,) = index.ids_where(volume=entry.volume)
        assert index.records([number])[number] == to_record(entry, None)
        latent_L = model.volume_latent(read_volume(cohort.folder / entry.cache))
        np.testing.assert_array_equal(index.latents([number])[0], latent_L)
        assert index.thumbnails([number])[number].startswith(b"\x89PNG")


def test_a_second_run_does_what_is_new_or_has_changed(cohort: Cohort, model: Model) -> None:
    before, _, _ = _run(cohort, model, splits=("train",), thumbnails=False)
    numbers = {volume: before.ids_where(volume=volume) for volume in ("V0.nii.gz", "V1.nii.gz", "V2.nii.gz")}
    assert [len(found) for found in numbers.values()] == [1, 1, 0]
    assert before.thumbnails(before.ids()) == {}
    changed = replace(cohort, entries=(cohort.entries[0], _entry(1, report=Report(findings="Zebrafish.")), cohort.entries[2]))
    after, failed, told = _run(changed, model)
    assert (failed, told[-1]) == (0, IndexProgress(completed=2, total=2, before=1))
    assert after.ids_where(volume="V0.nii.gz") == numbers["V0.nii.gz"]
    (record,) = after.records(after.ids_where(volume="V1.nii.gz")).values()
    assert (record.report.findings, len(after)) == ("Zebrafish.", 3)
    assert _run(changed, model)[1:] == (0, []), "nothing is left to do"


def test_a_damaged_volume_is_counted_and_named_and_the_others_are_there(cohort: Cohort, model: Model) -> None:
    file = cohort.folder / "2.vol"
    whole = file.read_bytes()
    for damage in (whole[:-1], None):
        file.unlink()
        if damage is not None:
            file.write_bytes(damage)
        index, failed, told = _run(cohort, model)
        assert (failed, len(index)) == (1, 2)
        assert [progress.failed for progress in told if progress.failed] == ["V2.nii.gz"]
        assert max(progress.completed for progress in told) == told[-1].total
        file.write_bytes(b"")
    file.write_bytes(whole)
    assert _run(cohort, model)[1] == 0


def test_under_a_key_no_real_name_is_kept_or_told(cohort: Cohort, model: Model) -> None:
    (cohort.folder / "1.vol").unlink()
    index, failed, told = _run(cohort, model, key=KEY)
    assert (failed, len(index), index.settings["key"]) == (1, 2, KEY.fingerprint)
    content = b"".join(path.read_bytes() for path in index.folder.rglob("*") if path.is_file())
    assert b"Finding 0." in content
    assert not any(name in content for name in (b"PAT0", b"ACC0", b"SCAN0", b"V0.nii"))
    (name,) = (progress.failed for progress in told if progress.failed)
    assert name == to_record(cohort.entries[1], KEY).volume
    assert "V1" not in name


def test_a_record_is_the_entry_in_the_words_of_the_index() -> None:
    assert to_record(_entry(1), None) == Record(
        volume="V1.nii.gz",
        scan="SCAN1",
        accession="ACC1",
        patient="PAT1",
        split="train",
        report=Report(findings="Finding 1.", impression=""),
        labels=(1, 0, None) + (0,) * 15,
        facts=Demographics(age=93, sex="F", date="2019-03-04", scanner="GE"),
        source_sha256="source1",
        voxels_sha256="voxels1",
    )
    bare = to_record(_entry(1, accession="", report=Report(findings=" a\0b ", impression=" Not given. ")), None)
    assert (bare.accession, bare.report) == ("SCAN1", Report(findings="a b", impression=""))


def test_a_record_under_a_key_has_pseudonyms_and_coarser_facts() -> None:
    record, again = to_record(_entry(1), KEY), to_record(_entry(1, volume="V9.nii.gz"), KEY)
    assert record.patient == KEY.patient("PAT1")
    assert record.accession == KEY.accession("ACC1")
    assert record.scan.startswith(f"{record.patient}_")
    assert record.volume.startswith(f"{record.scan}_")
    assert record.facts == Demographics(age=90, sex="F", date="2019", scanner="GE")
    assert (again.scan, again.volume == record.volume) == (record.scan, False)


def test_settings_are_those_of_the_model_and_of_the_key(cohort: Cohort, model: Model) -> None:
    settings = index_settings(model, cohort, None)
    assert settings == {**model.settings(), "dim_latent": 64, "key": None}
    assert index_settings(model, cohort, KEY)["key"] == KEY.fingerprint
    assert index_settings(model, replace(cohort, site_key_fingerprint="12345678"), None)["key"] == "12345678"


def test_a_cohort_that_was_prepared_for_another_model_is_refused(cohort: Cohort, model: Model) -> None:
    other = replace(cohort, preprocess=replace(cohort.preprocess, pad_value=-0.9))
    says = r"was prepared with another preprocessing than the model's.*thoracle prepare --preprocess MODEL"
    with pytest.raises(IndexMismatch, match=says) as error:
        index_settings(model, other, None)
    assert error.value.source == str(cohort.folder)


def test_queries_are_encoded_as_they_are_looked_for_of_both_kinds(model: Model) -> None:
    reports = ["Pleural effusion on the left.", "Emphysema."]
    texts, encoded = encode_queries(model, reports)
    assert texts.shape == (4 * 18, model.dim_latent)
    np.testing.assert_allclose(texts[:18], text_query_latents(model, list(ABNORMALITIES)).numpy(), atol=1e-5)
    np.testing.assert_allclose(texts[18], text_query_latents(model, [f"Left {ABNORMALITIES[0]}"])[0].numpy(), atol=1e-5)
    np.testing.assert_allclose(encoded, model.encode_text(reports).numpy(), atol=1e-5)
    assert len(encode_queries(model, [])) == 1


def test_probabilities_are_what_detect_gives_and_stay_with_their_volumes(
    model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
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
