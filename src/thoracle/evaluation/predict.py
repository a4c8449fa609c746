"""Run a model over a prepared cohort, into a table of probabilities that a stopped run goes on with."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from thoracle.cohort.manifest import Cohort, CohortEntry
from thoracle.cohort.reports import Section
from thoracle.cohort.samples.volume_cache import read_volume
from thoracle.cohort.sources import Split
from thoracle.ct.preprocess import to_hounsfield
from thoracle.ct.recipes.orientation import ZXY, view_as
from thoracle.errors import InputError
from thoracle.execution.prefetch import prefetch
from thoracle.inference.batch.result_table import ResultTable, RowSource
from thoracle.inference.latents import latent_row
from thoracle.inference.model import Model
from thoracle.inference.prepare import PreparedVolume
from thoracle.models.encoder import Capability
from thoracle.types import ModelInput


def labelled_entries(cohort: Cohort, splits: Collection[Split]) -> Sequence[CohortEntry]:
    """List the volumes of these splits that have a label."""
    return [entry for entry in cohort.entries if entry.split in splits and any(label is not None for label in entry.labels)]


def require_same_input(model: Model, cohort: Cohort) -> None:
    """Raise InputError where the cohort was prepared for another model."""
    if model.preprocess != cohort.preprocess:
        raise InputError(
            "was prepared with another preprocessing than the model's",
            hint="Run `thoracle prepare` with --preprocess MODEL/config.json.",
            source=cohort.folder,
        )


def select_readable(model: Model, cohort: Cohort) -> tuple[Cohort, tuple[str, ...]]:
    """Select the volumes that a model takes, without those that have no lungs where it reads by region, and say how many these are.

    Raises:
        InputError: none is left.
    """
    if Capability.REGIONS not in model.capabilities:
        return cohort, ()
    readable = tuple(entry for entry in cohort.entries if entry.box is not None and entry.box.encloses == "lungs")
    if not readable:
        hint = "Prepare it anew with this Thoracle, which keeps where the lungs are: `thoracle prepare` with a new --out."
        raise InputError("no volume says where its lungs are", hint=hint, source=cohort.folder)
    left_out = len(cohort.entries) - len(readable)
    note = f"{left_out:,} of {len(cohort.entries):,} volumes are left out: no lungs were found in them, by which this model tells places."
    return replace(cohort, entries=readable), (note,) if left_out else ()


def entry_source(entry: CohortEntry) -> RowSource:
    """Identify what a row of a cohort's volume is made of: the scan's bytes, and the cached volume made of them."""
    return RowSource(sha256=entry.source_sha256, reading=entry.cache_sha256)


def pending_entries(
    entries: Sequence[CohortEntry], table: ResultTable, *, source_of: Callable[[CohortEntry], RowSource] = entry_source
) -> list[CohortEntry]:
    """List the volumes that have no row, or one that was made of something else."""
    return [entry for entry in entries if (row := table.sources.get(entry.volume)) is None or not row.equals(source_of(entry))]


def score(model: Model, cohort: Cohort, entries: Sequence[CohortEntry], table: ResultTable) -> Iterator[str]:
    """Add a row for each volume that has none of its own, and yield its name: the model's own probabilities, not calibrated.

    Raises:
        CacheDamaged: a cached volume that is not what was written.
    """
    for entry, volume in prefetch_volumes(cohort, pending_entries(entries, table)):
        prepared = PreparedVolume(array=volume, provenance=None, warnings=(), box=entry.box)
        findings = model.detect(prepared, calibrated=False)
        table.add(entry.volume, [f"{p:.9g}" for p in findings.probabilities], source=entry_source(entry))
        yield entry.volume


def embed(model: Model, cohort: Cohort, entries: Sequence[CohortEntry], table: ResultTable) -> Iterator[str]:
    """Add the latent of each volume that has no row of its own, as `thoracle embed` keeps them, and yield its name.

    Raises:
        CapabilityMissing: the model has no latents.
        CacheDamaged: a cached volume that is not what was written.
    """
    for entry, volume in prefetch_volumes(cohort, pending_entries(entries, table)):
        table.add(entry.volume, latent_row(model.volume_latent(volume)), source=entry_source(entry))
        yield entry.volume


def prefetch_volumes(cohort: Cohort, entries: Sequence[CohortEntry]) -> Iterator[tuple[CohortEntry, ModelInput]]:
    """Yield each entry with its cached volume; the next is read while the caller works on this one.

    Raises:
        CacheDamaged: a cached volume that is not what was written.
    """
    return prefetch(lambda entry: read_volume(cohort.folder / entry.cache), entries)


def volume_loader(cohort: Cohort) -> Callable[[str], NDArray[np.float32] | None]:
    """Make a function from a volume's name, or a scan's, whose first volume counts, to HU (z, x, y); None for names the cohort does not
    have.
    """
    preprocess = cohort.preprocess
    entries = {entry.scan: entry for entry in reversed(cohort.entries)} | {entry.volume: entry for entry in cohort.entries}

    def look(name: str) -> NDArray[np.float32] | None:
        entry = entries.get(name)
        if entry is None:
            return None
        return view_as(to_hounsfield(read_volume(cohort.folder / entry.cache), preprocess), preprocess.axes, ZXY)

    return look


def first_volume_per_scan(cohort: Cohort, *, split: Split, section: Section) -> list[CohortEntry]:
    """Return the first volume of each scan of a split that has a report.

    Raises:
        InputError: there is none.
    """
    entries = {entry.scan: entry for entry in reversed(cohort.entries) if entry.split == split and entry.report.text(section)}
    if not entries:
        raise InputError(
            f"no scan of split {split} has a report ({section})", hint="Give another --split or --section.", source=cohort.folder
        )
    return sorted(entries.values(), key=lambda entry: entry.volume)
