from __future__ import annotations

from pathlib import Path

import pytest

from thoracle.cohort.demographics import Demographics
from thoracle.cohort.journal import VolumeOutcome
from thoracle.cohort.manifest import CohortEntry
from thoracle.cohort.preparation.entries import counts_of, manifest_entries, published_counts, rare_in_dev
from thoracle.cohort.reports import Report
from thoracle.cohort.sources import UNLABELLED, VolumeSource
from thoracle.types import ABNORMALITIES


def _source(volume: str, patient: str, moment: tuple[str, str]) -> VolumeSource:
    facts = Demographics(date=moment[0][:4])
    return VolumeSource(volume=volume, scan=volume[:2], patient=patient, path=Path(volume), split="train", study_time=moment, facts=facts)


@pytest.fixture
def sources() -> list[VolumeSource]:
    """The first patient's later scan has two volumes and comes first by name; the second patient has one scan."""
    later, earlier, other = ("2020-03-01", "101500"), ("2018-01-05", "101500"), ("2019-01-01", "")
    return [_source("a1.2", "p", later), _source("a1.1", "p", later), _source("b1", "p", earlier), _source("c1", "q", other)]


def _entries(sources: list[VolumeSource], **changes: object):
    outcomes = {source.volume: VolumeOutcome(volume=source.volume, stamp="s", cache="00/x.vol", source_sha256="f") for source in sources}
    options = {"kept": (), "before": (), "moments": {source.volume: source.study_time for source in sources}, "seed": 0, **changes}
    return manifest_entries(sources, outcomes, **options)  # type: ignore[arg-type]


def test_rows_are_in_order_of_name_and_visits_in_order_of_time(sources: list[VolumeSource]) -> None:
    entries = _entries(sources)
    assert [(entry.volume, entry.visit) for entry in entries] == [("a1.1", 2), ("a1.2", 2), ("b1", 1), ("c1", 1)]
    assert {entry.cache for entry in entries} == {"cache/00/x.vol"}
    assert counts_of(entries) == "4 volumes of 3 scans and 2 patients"


def test_a_row_that_stays_keeps_its_place_among_the_visits(sources: list[VolumeSource]) -> None:
    """The earlier scan has left the archive; the other is still the second."""
    first = _entries(sources)
    kept = [entry for entry in first if entry.volume == "b1"]
    again = _entries([source for source in sources if source.volume != "b1"], kept=kept, before=first)
    assert [(entry.volume, entry.visit) for entry in again] == [(entry.volume, entry.visit) for entry in first]


def test_a_moment_that_nobody_tells_is_no_order(sources: list[VolumeSource]) -> None:
    assert {entry.visit for entry in _entries(sources, moments=dict.fromkeys(("a1.1", "a1.2", "b1", "c1"), ("", "")))} == {None}


def test_phantoms_are_not_counted_among_a_published_archive(tmp_path: Path) -> None:
    assert published_counts(tmp_path, "ct-rate") == "CT-RATE as published has 50,188 volumes of 25,692 scans and 21,304 patients"
    assert published_counts(tmp_path, "folder") == ""
    (tmp_path / "phantom.json").write_text("{}")
    assert published_counts(tmp_path, "ct-rate") == published_counts(tmp_path, "bimcv-r") == ""


def test_findings_that_are_rare_in_dev_are_named_with_their_scans() -> None:
    """Of 30 scans of two volumes each, 20 have all findings, 19 of them the third; what is in train or unlabelled does not count."""

    def entry(scan: int, volume: int, split: str, labels: tuple[int | None, ...]) -> CohortEntry:
        return CohortEntry(
            volume=f"{split}{scan}_{volume}", scan=f"{split}{scan}", patient=f"{split}{scan}", split=split, source_sha256="", cache="",
            cache_sha256="", report=Report(), labels=labels,
        )  # type: ignore[arg-type]  # fmt: skip

    labels = [tuple(int(n < (19 if k == 2 else 20)) for k in range(18)) for n in range(30)]
    dev = [entry(n, volume, "dev", labels[n]) for n in range(30) for volume in (1, 2)]
    more = [entry(n, 1, split, (1,) * 18) for n in range(5) for split in ("train", "valid")] + [entry(99, 1, "dev", UNLABELLED)]
    assert rare_in_dev([*dev, *more]) == [
        f"Split dev, which training is evaluated on, has fewer than 20 scans with: {ABNORMALITIES[2]} (19)."
    ]
    assert rare_in_dev(more) == []
    assert rare_in_dev([entry for entry in dev if entry.scan != "dev0"])[0].count("(19)") == 17
