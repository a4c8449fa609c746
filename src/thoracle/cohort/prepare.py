"""Prepare an archive as a cohort for training: list, split, read each volume into the cache, report.

Whatever is killed goes on: finished volumes are in a journal, files are whole or absent, and the manifest is written last.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Final

from thoracle.cohort.journal import Journal, VolumeOutcome
from thoracle.cohort.label_missing import Labeller, label_missing
from thoracle.cohort.layouts import bimcv_r, ct_rate, dicom, folder
from thoracle.cohort.manifest import CACHE, CohortEntry, claim, read_manifest, require_cohort_or_empty, write_manifest
from thoracle.cohort.preparation.overrides import with_metadata, with_series
from thoracle.cohort.preparation.retention import Cache, retained_rows, standing_outcome, sweep
from thoracle.cohort.preparation.visits import ScanTime, number_visits
from thoracle.cohort.pseudonyms import PSEUDONYMIZED_LAYOUTS, SiteKey, default_key_file
from thoracle.cohort.quality_report import QualityIssue, findings_of, leak_issues, write_quality
from thoracle.cohort.reconstruction import ReconstructionFilter
from thoracle.cohort.samples.volume_cache import require_cacheable
from thoracle.cohort.sources import ArchiveListing, VolumeSource
from thoracle.cohort.splits import Leakage, find_leaks, refuse_leaks, split_of
from thoracle.cohort.worker import PrepareVolume, refused, source_fingerprint
from thoracle.config_reader import config_to_mapping
from thoracle.ct.dicom.slice_geometry import Uneven
from thoracle.ct.preprocess import PreprocessConfig
from thoracle.ct.read import Units
from thoracle.errors import CacheDamaged, InputError, OutputConflict, WorkerKilled
from thoracle.execution.executor import Executor, ItemOutcome
from thoracle.execution.local import LocalExecutor
from thoracle.files.lock import exclusive_lock
from thoracle.files.table import UTF_8

LAYOUTS: Final[dict[str, Callable[..., ArchiveListing]]] = {
    "ct-rate": ct_rate.find,
    "bimcv-r": bimcv_r.find,
    "dicom": dicom.find,
    "folder": folder.find,
}
#: Volumes, scans and patients that an archive has as published, as far as it says.
PUBLISHED: Final = {
    "ct-rate": "CT-RATE as published has 50,188 volumes of 25,692 scans and 21,304 patients",
    "bimcv-r": "BIMCV-R as published has 8,069 volumes",
}
_LOST: Final = "Not in the archive now, and its cached volume is missing or damaged. Put the scan back, and run again."
_CT_CLIP: Final = PreprocessConfig()
_ALL: Final = ReconstructionFilter()


@dataclass(frozen=True, kw_only=True)
class PrepareProgress:
    """Report one more volume: its outcome, and how many are done in this run, to do in it, and were done before."""

    outcome: VolumeOutcome
    completed: int
    total: int
    before: int


@dataclass(frozen=True, kw_only=True)
class PreparationSummary:
    """Summarize a finished run: volumes in the cohort, their slices, volumes refused, volumes that only tables list, and notes."""

    volumes: int
    slices: int
    refused: int
    absent: int
    notes: tuple[str, ...]


def prepare(
    src: str | Path,
    *,
    layout: str,
    out: str | Path,
    preprocess: PreprocessConfig = _CT_CLIP,
    reconstruction: ReconstructionFilter = _ALL,
    split_seed: int = 0,
    keep_ids: bool = False,
    derived: bool = False,
    site_key: Path | None = None,
    metadata: Path | None = None,
    hu: Units = "auto",
    series: str | None = None,
    min_slices: int = 10,
    judge: bool = True,
    uneven: Uneven = "refuse",
    labeller: Labeller | None = None,
    encoding: str = UTF_8,
    prune: bool = False,
    verify: bool = False,
    retry: bool = False,
    workers: int = 1,
    progress: Callable[[PrepareProgress], None] = lambda _: None,
) -> PreparationSummary:
    """Make the cohort of an archive, or finish one that was begun; on a finished one, take up what is new in the archive.

    What is no longer in the archive stays in the cohort, unless `prune` is said.

    Args:
        src: the archive.
        layout: a name in `LAYOUTS`.
        out: the cohort's folder.
        preprocess: of the model it is for.
        reconstruction: which volumes of a scan.
        split_seed: of the hash that splits patients, where the archive does not.
        keep_ids: of "dicom" and "folder", keep names and numbers, which otherwise become pseudonyms.
        derived: of "dicom", take series of derived images (projections, reformatted images, maps of other quantities) too.
        site_key: file of the key to these; by default the user's own.
        metadata: a metadata table whose rows go before those that the archive has.
        hu: as for `thoracle.read`.
        series: of a DICOM folder or UID that holds several volumes, the one to read.
        min_slices: fewest axial slices that are taken as a volume.
        judge: also tell of volumes that are unlike a whole chest (`thoracle.ct.quality`), the slowest step where volumes are small.
        uneven: what becomes of slices whose distance changes, see `thoracle.read`.
        labeller: labels scans that have a report and no labels; without one they stay unlabelled.
        encoding: of tables of reports, labels and metadata.
        prune: remove volumes that are no longer in the archive.
        verify: hash each cached volume, and read again what is damaged.
        retry: try all that was refused again.
        workers: processes. With more than one, a script needs the usual `if __name__ == "__main__"`.
        progress: told of each volume.

    Raises:
        InputError: an argument that makes no sense.
        LayoutMismatch, MetadataError: not such an archive.
        SplitLeak: patients or scans in two splits; the quality report lists them, and the manifest stays as it was.
        OutputConflict: `out` is something else, or of other settings, or another run is at it.
        WorkerKilled: a worker was killed as it started. A scan that kills two workers is refused, and read again by the next run.
    """
    source, target = Path(src), Path(out)
    _check(source, layout)
    executor = LocalExecutor(workers=workers)
    require_cacheable(preprocess)
    key = None if keep_ids or layout not in PSEUDONYMIZED_LAYOUTS else SiteKey.open(site_key or default_key_file(), outside=target)
    listing = LAYOUTS[layout](source, encoding=encoding)
    wanted = [volume for volume in listing.sources if derived or not volume.derived]
    wanted, matched = with_metadata(wanted, metadata, encoding=encoding) if metadata else (wanted, "")
    wanted = with_series(wanted, series) if series else wanted
    sources = [key.pseudonymize(volume) for volume in wanted] if key else wanted
    chosen, without = reconstruction.choose(sources)
    chosen, labelled = label_missing(chosen, labeller) if labeller else (chosen, "")
    notes = (
        *listing.notes,
        *_derived_note(listing, derived),
        *_left_out(sources, chosen, without, reconstruction),
        *filter(None, [matched, labelled]),
    )
    reading = {"preprocess": config_to_mapping(preprocess), "hu": hu, "min_slices": min_slices, "uneven": uneven}
    whole_series = None if series is None or layout == "dicom" else key.accession(series) if key else series
    settings = {
        "layout": layout,
        **reading,
        "series": whole_series,  # of "dicom" it is one volume's affair, and in its stamp, as rows of metadata are
        "reconstruction": str(reconstruction),
        "split_seed": split_seed,
        "site_key": key.fingerprint if key else None,
        **({"derived": True} if derived else {}),
        **({"labelled_by": {"backend": labeller.name, **labeller.settings()}} if labeller else {}),
    }
    require_cohort_or_empty(target)
    with exclusive_lock(target, refusal=OutputConflict, detail="another run is preparing this cohort"):
        claim(target, settings)
        journal, before = Journal(target / "journal.jsonl"), read_manifest(target)
        retained = partial(
            retained_rows, before, {volume.volume: volume for volume in sources}, one_per_scan=reconstruction.by != "all", prune=prune
        )
        patients = [
            *((source.patient, source.volume, split_of(source, seed=split_seed)) for source in chosen if not source.error),
            *((entry.patient, entry.volume, entry.split) for entry in retained({}).kept),
        ]
        _require_apart(find_leaks(patients, what="patient"), target, before, [], journal=journal, notes=notes)
        cache = Cache(folder=target / CACHE, verify=verify)
        stamps = {source.volume: source_fingerprint(source, reading) for source in chosen}
        make_job = partial(PrepareVolume, cache=cache.folder, config=preprocess, hu=hu, min_slices=min_slices, uneven=uneven, judge=judge)
        outcomes = {
            source.volume: outcome
            for source in chosen
            if (outcome := standing_outcome(journal, source, stamps[source.volume], cache=cache, retry=retry)) is not None
        }
        todo = [(source, stamps[source.volume]) for source in chosen if source.volume not in outcomes]
        damaged = sum(not source.error and journal.has_cached(source.volume, stamp) for source, stamp in todo)
        outcomes |= _read_all(todo, journal, before=len(outcomes), make_job=make_job, executor=executor, progress=progress)
        rows = retained(outcomes)
        kept = [entry for entry in rows.kept if cache.holds_row(entry, journal.cached.get(entry.volume))]
        lost = [entry for entry in rows.kept if entry not in kept]
        prepared = [source for source in chosen if not outcomes[source.volume].error]
        entries = _entries(prepared, kept, outcomes, before=before, sources=sources, seed=split_seed)
        known = {volume.volume for volume in sources} | {entry.volume for entry in entries}
        unlisted = sum(name not in known and (cache.folder / outcome.cache).is_file() for name, outcome in journal.cached.items())
        notes = (
            *notes,
            *rows.notes(journal.cached),
            *_cache_notes(damaged=damaged, unlisted=0 if prune else unlisted),
            *([_published(layout, entries)] if layout in PUBLISHED else []),
        )
        issues = [
            *findings_of((outcomes[source.volume] for source in chosen), absent=listing.absent),
            *(QualityIssue(volume=entry.volume, status="refused", error=CacheDamaged.__name__, message=_LOST) for entry in lost),
            *(QualityIssue(volume=entry.volume, status="kept", message="Not in the archive now; kept as it was.") for entry in kept),
        ]
        scans = ((entry.cache_sha256, entry.volume, entry.split) for entry in entries)
        _require_apart(find_leaks(scans, what="scan"), target, entries, issues, journal=journal, notes=notes)
        write_quality(target, entries, issues, outcomes=journal.cached, notes=notes)
        write_manifest(target, entries)
        vouched = set() if prune else {f"{CACHE}/{outcome.cache}" for outcome in journal.cached.values()}
        sweep(target, vouched | {entry.cache for entry in entries})
    return PreparationSummary(
        volumes=len(entries),
        slices=sum(journal.cached[entry.volume].slices for entry in entries if entry.volume in journal.cached),
        refused=len(chosen) - len(prepared) + len(lost),
        absent=len(listing.absent),
        notes=notes,
    )


def _check(source: Path, layout: str) -> None:
    if layout not in LAYOUTS:
        raise InputError(f"no layout {layout!r:.40}; there are {', '.join(LAYOUTS)}", hint="Choose one of them.")
    if not source.is_dir():
        raise InputError("no such folder", hint="Check the path.", source=source)


def _require_apart(
    leaks: Sequence[Leakage],
    target: Path,
    entries: Sequence[CohortEntry],
    issues: Sequence[QualityIssue],
    *,
    journal: Journal,
    notes: Sequence[str],
) -> None:
    """Refuse leaks, once the quality report lists every one."""
    if leaks:
        write_quality(target, entries, [*leak_issues(leaks), *issues], outcomes=journal.cached, notes=notes)
        refuse_leaks(leaks, listed_in="quality.csv")


def _read_all(
    todo: Sequence[tuple[VolumeSource, str]],
    journal: Journal,
    *,
    before: int,
    make_job: Callable[[], PrepareVolume],
    executor: Executor,
    progress: Callable[[PrepareProgress], None],
) -> dict[str, VolumeOutcome]:
    """Read sources with their stamps, note each in the journal, and return the outcomes by name."""
    outcomes = {}
    with closing(executor.map(make_job, todo)) as finished:
        for count, outcome in enumerate(map(_volume_outcome, finished), start=1):
            journal.add([outcome])
            outcomes[outcome.volume] = outcome
            progress(PrepareProgress(outcome=outcome, completed=count, total=len(todo), before=before))
    return outcomes


def _volume_outcome(finished: ItemOutcome[tuple[VolumeSource, str], VolumeOutcome]) -> VolumeOutcome:
    """Return what became of a volume; one that killed its workers is refused, and any other error stops the run."""
    if isinstance(finished.error, WorkerKilled):
        source, stamp = finished.item
        return refused(source, stamp, finished.error, finished.error.redacted())
    return finished.output_or_raise()


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


def _cache_notes(*, damaged: int, unlisted: int) -> tuple[str, ...]:
    notes = []
    if damaged:
        notes.append(f"{damaged:,} cached volumes were missing or damaged; their scans were read again.")
    if unlisted:
        notes.append(
            f"{unlisted:,} cached volumes have no row in the manifest, and their scans are not in SRC; kept. "
            "Put the scans back to take them up, or remove them with --prune."
        )
    return tuple(notes)


def _published(layout: str, entries: Sequence[CohortEntry]) -> str:
    scans, patients = {(entry.patient, entry.scan) for entry in entries}, {entry.patient for entry in entries}
    return f"{PUBLISHED[layout]}; here are {len(entries):,} volumes of {len(scans):,} scans and {len(patients):,} patients."


def _entries(
    prepared: Sequence[VolumeSource],
    kept: Sequence[CohortEntry],
    outcomes: Mapping[str, VolumeOutcome],
    *,
    before: Sequence[CohortEntry],
    sources: Sequence[VolumeSource],
    seed: int,
) -> list[CohortEntry]:
    """Make the rows of the manifest, in order of name, each with the number of its visit."""
    rows = [*kept, *(_entry(source, outcomes[source.volume], seed=seed) for source in prepared)]
    moments = {source.volume: source.study_time for source in sources}
    visits = number_visits(
        (ScanTime.of(entry.patient, entry.scan, moments.get(entry.volume) or (entry.facts.date, "")) for entry in rows),
        before={(entry.patient, entry.scan): entry.visit for entry in before if entry.visit is not None},
    )
    numbered = (replace(entry, visit=visits.get((entry.patient, entry.scan))) for entry in rows)
    return sorted(numbered, key=lambda entry: entry.volume)


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
    )
