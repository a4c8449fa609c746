"""Prepare an archive as a cohort for training: list, split, read each volume into the cache, report.

Whatever is killed goes on: finished volumes are in a journal, files are whole or absent, and the manifest is written last.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from thoracle.cohort.journal import Journal, VolumeOutcome
from thoracle.cohort.label_missing import Labeller, label_missing
from thoracle.cohort.layouts import bimcv_r, ct_rate, dicom, folder
from thoracle.cohort.manifest import CACHE, CohortEntry, claim, remove_manifest, write_manifest
from thoracle.cohort.pseudonyms import PSEUDONYMIZED_LAYOUTS, SiteKey, default_key_file
from thoracle.cohort.quality_report import findings_of, write_quality
from thoracle.cohort.reconstruction import ReconstructionFilter
from thoracle.cohort.samples.volume_cache import require_cacheable
from thoracle.cohort.sources import ArchiveListing, VolumeSource
from thoracle.cohort.splits import require_no_leak, split_of
from thoracle.cohort.worker import PrepareVolume, refused, source_fingerprint
from thoracle.config_reader import config_to_mapping
from thoracle.ct.dicom.slice_geometry import Uneven
from thoracle.ct.preprocess import PreprocessConfig
from thoracle.errors import InputError, OutputConflict, WorkerKilled
from thoracle.execution.executor import Executor, ItemOutcome
from thoracle.execution.local import LocalExecutor
from thoracle.files.atomic import TEMPORARY
from thoracle.files.lock import exclusive_lock
from thoracle.files.table import UTF_8

LAYOUTS: Final[dict[str, Callable[..., ArchiveListing]]] = {
    "ct-rate": ct_rate.find,
    "bimcv-r": bimcv_r.find,
    "dicom": dicom.find,
    "folder": folder.find,
}
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
    """Summarize a finished run: volumes prepared, volumes refused, volumes that only tables list, and notes."""

    volumes: int
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
    judge: bool = True,
    uneven: Uneven = "refuse",
    labeller: Labeller | None = None,
    encoding: str = UTF_8,
    workers: int = 1,
    progress: Callable[[PrepareProgress], None] = lambda _: None,
) -> PreparationSummary:
    """Make the cohort of an archive, or finish one that was begun; on a finished one, take up what is new in the archive.

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
        judge: also tell of volumes that are unlike a whole chest (`thoracle.ct.quality`), the slowest step where volumes are small.
        uneven: what becomes of slices whose distance changes, see `thoracle.read`.
        labeller: labels scans that have a report and no labels; without one they stay unlabelled.
        encoding: of tables of reports, labels and metadata.
        workers: processes. With more than one, a script needs the usual `if __name__ == "__main__"`.
        progress: told of each volume.

    Raises:
        InputError: an argument that makes no sense.
        LayoutMismatch, MetadataError: not such an archive.
        SplitLeak: a patient or a scan in two splits; the quality report is written, the manifest not.
        OutputConflict: `out` is something else, or another run is at it.
        WorkerKilled: a worker was killed as it started. A scan that kills two workers is refused, and read again by the next run.
    """
    source, target = Path(src), Path(out)
    _check(source, layout)
    executor = LocalExecutor(workers=workers)
    require_cacheable(preprocess)
    key = None if keep_ids or layout not in PSEUDONYMIZED_LAYOUTS else SiteKey.open(site_key or default_key_file(), outside=target)
    listing = LAYOUTS[layout](source, encoding=encoding)
    wanted = [volume for volume in listing.sources if derived or not volume.derived]
    sources = [key.pseudonymize(volume) for volume in wanted] if key else wanted
    chosen, without = reconstruction.choose(sources)
    require_no_leak(
        ((source.patient, source.volume, split_of(source, seed=split_seed)) for source in chosen if not source.error), what="patient"
    )
    chosen, labelled = label_missing(chosen, labeller) if labeller else (chosen, "")
    settings = {
        "layout": layout,
        "preprocess": config_to_mapping(preprocess),
        "reconstruction": str(reconstruction),
        "split_seed": split_seed,
        "uneven": uneven,
        "site_key": key.fingerprint if key else None,
        **({"derived": True} if derived else {}),
        **({"labelled_by": {"backend": labeller.name, **labeller.settings()}} if labeller else {}),
    }
    claim(target, settings)
    with exclusive_lock(target, refusal=OutputConflict, detail="another run is preparing this cohort"):
        remove_manifest(target)
        make_job = partial(PrepareVolume, cache=target / CACHE, config=preprocess, judge=judge, uneven=uneven)
        outcomes = _read_all(chosen, target, make_job=make_job, executor=executor, progress=progress)
        notes = (
            *listing.notes,
            *_derived_note(listing, derived),
            *_left_out(sources, chosen, without, reconstruction),
            *filter(None, [labelled]),
        )
        entries = [_entry(source, outcomes[source.volume], seed=split_seed) for source in chosen if not outcomes[source.volume].error]
        findings = findings_of((outcomes[source.volume] for source in chosen), absent=listing.absent)
        write_quality(target, entries, findings, notes=notes)
        require_no_leak(((entry.cache_sha256, entry.volume, entry.split) for entry in entries), what="scan")
        _sweep(target, {entry.cache for entry in entries})
        write_manifest(target, entries)
    refused = len(chosen) - len(entries)
    return PreparationSummary(volumes=len(entries), refused=refused, absent=len(listing.absent), notes=notes)


def _check(source: Path, layout: str) -> None:
    if layout not in LAYOUTS:
        raise InputError(f"no layout {layout!r:.40}; there are {', '.join(LAYOUTS)}", hint="Choose one of them.")
    if not source.is_dir():
        raise InputError("no such folder", hint="Check the path.", source=source)


def _read_all(
    sources: Sequence[VolumeSource],
    target: Path,
    *,
    make_job: Callable[[], PrepareVolume],
    executor: Executor,
    progress: Callable[[PrepareProgress], None],
) -> dict[str, VolumeOutcome]:
    """Read what is not in the journal, and return the outcome of each volume, by name."""
    journal = Journal(target / "journal.jsonl")
    stamps = {source.volume: source_fingerprint(source) for source in sources}
    cache = target / CACHE
    todo = [source for source in sources if not _is_done(journal.outcomes.get(source.volume), stamps[source.volume], source, cache)]
    before = len(sources) - len(todo)
    with closing(executor.map(make_job, [(source, stamps[source.volume]) for source in todo])) as finished:
        for count, outcome in enumerate(map(_volume_outcome, finished), start=1):
            journal.add([outcome])
            progress(PrepareProgress(outcome=outcome, completed=count, total=len(todo), before=before))
    return journal.outcomes


def _volume_outcome(finished: ItemOutcome[tuple[VolumeSource, str], VolumeOutcome]) -> VolumeOutcome:
    """Return what became of a volume; one that killed its workers is refused, and any other error stops the run."""
    if isinstance(finished.error, WorkerKilled):
        source, stamp = finished.item
        return refused(source, stamp, finished.error, finished.error.redacted())
    return finished.output_or_raise()


def _is_done(before: VolumeOutcome | None, stamp: str, source: VolumeSource, cache: Path) -> bool:
    """Nothing changed since: files, what tables say, and the cached volume. What the tables themselves refused is judged anew."""
    if before is None or not stamp or before.stamp != stamp or source.error is not None:
        return False
    if before.error:
        return before.error not in ("ScanUnreadable", "OSError", "MemoryError", "MetadataError", "WorkerKilled")
    path = cache / before.cache
    return path.is_file() and path.stat().st_size == before.cache_bytes


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


def _sweep(target: Path, names: set[str]) -> None:
    """Remove what killed runs left behind and volumes that are no longer used."""
    cached = {path for path in (target / CACHE).glob("*/*") if path.relative_to(target).as_posix() not in names}
    for path in cached | set(target.glob(f".*{TEMPORARY}")):
        path.unlink()
