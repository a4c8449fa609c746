"""Make the rows of a manifest of what was read and what stays of an earlier one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from thoracle.cohort.journal import VolumeOutcome
from thoracle.cohort.manifest import CACHE, CohortEntry
from thoracle.cohort.preparation.visits import ScanTime, number_visits
from thoracle.cohort.sources import VolumeSource
from thoracle.cohort.splits import split_of
from thoracle.ct.chest.input_box import InputBox
from thoracle.types import ABNORMALITIES

#: Volumes, scans and patients that an archive has as published, as far as it says.
_PUBLISHED: Final = {
    "ct-rate": "CT-RATE as published has 50,188 volumes of 25,692 scans and 21,304 patients",
    "bimcv-r": "BIMCV-R as published has 8,069 volumes",
}
#: What marks a folder of phantoms, which pass for an archive and are none.
_PHANTOMS: Final = "phantom.json"
#: Scans with a finding below which choosing on split dev is choosing by chance.
_FEWEST_POSITIVE: Final = 20


def manifest_entries(
    prepared: Iterable[VolumeSource],
    outcomes: Mapping[str, VolumeOutcome],
    *,
    kept: Sequence[CohortEntry],
    before: Sequence[CohortEntry],
    moments: Mapping[str, tuple[str, str]],
    seed: int,
) -> list[CohortEntry]:
    """Make the rows of the manifest, in order of name, each with the number of its visit.

    Args:
        prepared: volumes that are in the cache.
        outcomes: of these, by name.
        kept: rows of the last manifest that stay.
        before: all rows of the last manifest, whose visits keep their order.
        moments: date and time of studies, by volume of the archive.
        seed: of the hash that splits patients.
    """
    rows = [*kept, *(_entry(source, outcomes[source.volume], seed=seed) for source in prepared)]
    visits = number_visits(
        (ScanTime.of(entry.patient, entry.scan, moments.get(entry.volume) or (entry.facts.date, "")) for entry in rows),
        before={(entry.patient, entry.scan): entry.visit for entry in before if entry.visit is not None},
    )
    numbered = (replace(entry, visit=visits.get((entry.patient, entry.scan))) for entry in rows)
    return sorted(numbered, key=lambda entry: entry.volume)


def published_counts(archive: Path, layout: str) -> str:
    """Say how many volumes a published archive has; "" for other layouts, and for phantoms that are laid out as one."""
    return "" if (archive / _PHANTOMS).is_file() else _PUBLISHED.get(layout, "")


def counts_of(entries: Sequence[CohortEntry]) -> str:
    """Count volumes, scans and patients in words."""
    scans, patients = {(entry.patient, entry.scan) for entry in entries}, {entry.patient for entry in entries}
    return f"{len(entries):,} volumes of {len(scans):,} scans and {len(patients):,} patients"


def rare_in_dev(entries: Sequence[CohortEntry]) -> list[str]:
    """Name the findings of too few labelled scans of split dev to choose a model by; nothing where it holds none."""
    scans = {
        (entry.patient, entry.scan): entry.labels for entry in entries if entry.split == "dev" and any(x is not None for x in entry.labels)
    }
    counts = [sum(labels[k] == 1 for labels in scans.values()) for k in range(len(ABNORMALITIES))]
    rare = [f"{name} ({count})" for name, count in zip(ABNORMALITIES, counts, strict=True) if count < _FEWEST_POSITIVE]
    if not scans or not rare:
        return []
    return [f"Split dev, which training is evaluated on, has fewer than {_FEWEST_POSITIVE} scans with: {', '.join(rare)}."]


def _entry(source: VolumeSource, outcome: VolumeOutcome, *, seed: int) -> CohortEntry:
    return CohortEntry(
        volume=source.volume,
        scan=source.scan,
        patient=source.patient,
        split=split_of(source, seed=seed),
        source_sha256=outcome.source_sha256,
        cache=f"{CACHE}/{outcome.cache}",
        cache_sha256=outcome.cache_sha256,
        report=source.report,
        labels=source.labels,
        accession=source.accession or source.scan,
        facts=source.facts,
        box=InputBox.from_text(outcome.box) if outcome.box else None,
        foreground=outcome.foreground,
    )
