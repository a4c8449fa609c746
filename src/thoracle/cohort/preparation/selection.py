"""Select what of a listed archive is prepared, under the names that the cohort has for it, and say what is left out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from thoracle.cohort.label_missing import Labeller, label_missing
from thoracle.cohort.preparation.overrides import with_metadata, with_series
from thoracle.cohort.pseudonyms import SiteKey
from thoracle.cohort.reconstruction import ReconstructionFilter
from thoracle.cohort.sources import ArchiveListing, VolumeSource
from thoracle.files.volume_list import VolumeIdentity, read_volume_list


@dataclass(frozen=True, kw_only=True)
class Selection:
    """Hold volumes of an archive under the cohort's names.

    Attributes:
        sources: all that the archive has and that is asked for.
        chosen: those of them that are prepared, as `ReconstructionFilter` says.
        absent: names that only tables list.
        notes: sentences on what is left out and what was given from elsewhere.
    """

    sources: tuple[VolumeSource, ...]
    chosen: tuple[VolumeSource, ...]
    absent: tuple[str, ...]
    notes: tuple[str, ...]


def select_volumes(
    listing: ArchiveListing,
    *,
    reconstruction: ReconstructionFilter,
    key: SiteKey | None,
    derived: bool,
    metadata: Path | None,
    series: Sequence[str],
    encoding: str,
    labeller: Labeller | None,
    only: Path | None = None,
) -> Selection:
    """Select the volumes of a listing; the arguments are those of `prepare`.

    Args:
        listing: what a layout found.
        reconstruction: which volumes of a scan.
        key: makes pseudonyms; without one names stay.
        derived: take derived images too.
        metadata: a table whose rows go before the archive's.
        series: the volumes to read where several could be meant.
        encoding: of the table.
        labeller: labels scans that have a report and no labels.
        only: a list of the volumes to take, by the archive's names or the cohort's; read as `read_volume_list`, selected as
            `VolumeList.select` does, with their errors.

    Raises:
        InputError: one of `series` names none, or several.
        MetadataError: no such table, or one without a row for any volume.
    """
    volumes = [volume for volume in listing.sources if derived or not volume.derived]
    volumes, matched = with_metadata(volumes, metadata, encoding=encoding) if metadata else (volumes, "")
    volumes = with_series(volumes, series) if series else volumes
    sources = [key.pseudonymize(volume) for volume in volumes] if key else volumes
    listed, selected = _listed(volumes, sources, only) if only else (sources, "")
    chosen, without = reconstruction.choose(listed)
    chosen, labelled = label_missing(chosen, labeller) if labeller else (chosen, "")
    notes = (
        *listing.notes,
        *_derived_note(listing, derived),
        *_left_out(listed, chosen, without, reconstruction),
        *filter(None, [selected, matched, labelled]),
    )
    return Selection(sources=tuple(sources), chosen=tuple(chosen), absent=tuple(listing.absent), notes=notes)


def _listed(named: Sequence[VolumeSource], sources: Sequence[VolumeSource], only: Path) -> tuple[list[VolumeSource], str]:
    """The sources of a list, and how many they are; nobody has read their bytes, so it is names that count."""
    volumes = read_volume_list(only)
    pairs = list(zip(named, sources, strict=True))
    chosen, absent = volumes.select(pairs, identity=lambda pair: VolumeIdentity(names=(pair[0].volume, pair[1].volume)))
    return [source for _, source in chosen], volumes.summary(len(chosen), absent)


def _derived_note(listing: ArchiveListing, derived: bool) -> tuple[str, ...]:
    kinds = Counter(source.derived for source in listing.sources if source.derived)
    if derived or not kinds:
        return ()
    listed = ", ".join(f"{count} x {kind}" for kind, count in sorted(kinds.items()))
    return (f"{kinds.total():,} volumes of derived images were left out ({listed}); --derived takes them.",)


def _left_out(
    sources: Sequence[VolumeSource], chosen: Sequence[VolumeSource], without: Sequence[str], reconstruction: ReconstructionFilter
) -> tuple[str, ...]:
    notes = []
    if len(chosen) < len(sources):
        notes.append(f"{len(sources) - len(chosen):,} volumes were left out, as --reconstruction {reconstruction} says.")
    if without:
        notes.append(f"{len(without):,} scans have no such reconstruction.")
    return tuple(notes)
