"""Prepare an archive as a cohort for training: list, split, read each volume into the cache, report.

Whatever is killed goes on: finished volumes are in a journal, files are whole or absent, and the manifest is written last.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Final

from thoracle.cohort.journal import Journal, VolumeOutcome
from thoracle.cohort.label_missing import Labeller
from thoracle.cohort.layouts import bimcv_r, ct_rate, dicom, folder
from thoracle.cohort.manifest import CACHE, CohortEntry, claim, read_manifest, require_cohort_or_empty, with_dev, write_manifest
from thoracle.cohort.preparation.contrast_statements import contrast_counts, contrast_issues, contrast_note
from thoracle.cohort.preparation.entries import counts_of, manifest_entries, published_counts, rare_in_dev
from thoracle.cohort.preparation.retention import Cache, Retained, cache_notes, retained_rows, standing_outcome, sweep
from thoracle.cohort.preparation.selection import Selection, select_volumes
from thoracle.cohort.pseudonyms import PSEUDONYMIZED_LAYOUTS, SiteKey, default_key_file
from thoracle.cohort.quality_report import QualityIssue, findings_of, leak_issues, write_quality
from thoracle.cohort.reconstruction import ReconstructionFilter
from thoracle.cohort.samples.volume_cache import require_cacheable
from thoracle.cohort.sources import ArchiveListing
from thoracle.cohort.splits import DEV_SHARE, Leakage, find_leaks, refuse_leaks, split_of
from thoracle.cohort.worker import PrepareVolume, source_fingerprint, volume_outcome
from thoracle.config_reader import config_to_mapping
from thoracle.ct.dicom.slice_geometry import Uneven
from thoracle.ct.preprocess import PreprocessConfig, Preprocessing
from thoracle.ct.read import Units
from thoracle.errors import CacheDamaged, InputError, OutputConflict
from thoracle.execution.executor import Executor
from thoracle.execution.local import LocalExecutor
from thoracle.files.lock import exclusive_lock
from thoracle.files.table import UTF_8

LAYOUTS: Final[dict[str, Callable[..., ArchiveListing]]] = {
    "ct-rate": ct_rate.find,
    "bimcv-r": bimcv_r.find,
    "dicom": dicom.find,
    "folder": folder.find,
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
    preprocess: Preprocessing = _CT_CLIP,
    reconstruction: ReconstructionFilter = _ALL,
    split_seed: int = 0,
    dev_share: float = DEV_SHARE,
    keep_ids: bool = False,
    derived: bool = False,
    site_key: Path | None = None,
    metadata: Path | None = None,
    hu: Units = "auto",
    series: Sequence[str] = (),
    min_slices: int = 10,
    judge: bool = True,
    uneven: Uneven = "refuse",
    labeller: Labeller | None = None,
    encoding: str = UTF_8,
    only: Path | None = None,
    prune: bool = False,
    verify: bool = False,
    retry: bool = False,
    workers: int = 1,
    progress: Callable[[PrepareProgress], None] = lambda _: None,
    verifying: Callable[[int, int], None] = lambda count, total: None,
) -> PreparationSummary:
    """Make the cohort of an archive, or finish one that was begun; on a finished one, take up what is new in the archive.

    Args:
        src: the archive.
        layout: a name in `LAYOUTS`.
        out: the cohort's folder.
        preprocess: of the model it is for.
        reconstruction: which volumes of a scan.
        split_seed: of the hash that splits patients, where the archive does not.
        dev_share: of training patients, for the split dev; 0 trains on all of them.
        keep_ids: of "dicom" and "folder", keep names and numbers, which otherwise become pseudonyms.
        derived: of "dicom", take series of derived images (projections, reformatted images, maps of other quantities) too.
        site_key: file of the key to these; by default the user's own.
        metadata: a metadata table whose rows go before those that the archive has.
        hu: as for `thoracle.read`.
        series: of each DICOM folder or UID that holds several volumes, the one to read.
        min_slices: fewest axial slices that are taken as a volume.
        judge: also tell of volumes that are unlike a whole chest (`thoracle.ct.chest.quality`), the slowest step where volumes are small.
        uneven: what becomes of slices whose distance changes, see `thoracle.read`.
        labeller: labels scans that have a report and no labels; without one they stay unlabelled.
        encoding: of tables of reports, labels and metadata.
        only: a list of the volumes to take (`thoracle.files.volume_list`); the cohort then has no other that is in the archive.
        prune: remove volumes that are no longer in the archive; without it they stay in the cohort.
        verify: hash each cached volume, and read again what is damaged.
        retry: try all that was refused again.
        workers: processes. With more than one, a script needs the usual `if __name__ == "__main__"`.
        progress: told of each volume.
        verifying: told with `verify` how many cached volumes are hashed, of how many.

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
    selection = select_volumes(
        LAYOUTS[layout](source, encoding=encoding),
        reconstruction=reconstruction,
        key=key,
        derived=derived,
        metadata=metadata,
        series=series,
        encoding=encoding,
        labeller=labeller,
        only=only,
    )
    reading = {"preprocess": config_to_mapping(preprocess), "hu": hu, "min_slices": min_slices, "uneven": uneven}
    whole_series = None if not series or layout == "dicom" else key.accession(series[0]) if key else series[0]
    settings = {
        "layout": layout,
        **reading,
        "series": whole_series,  # of "dicom" they are each one volume's affair, and in its stamp, as rows of metadata are
        "reconstruction": str(reconstruction),
        "split_seed": split_seed,
        "dev_share": dev_share,
        "site_key": key.fingerprint if key else None,
        **({"derived": True} if derived else {}),
        **({"labelled_by": {"backend": labeller.name, **labeller.settings()}} if labeller else {}),
    }
    require_cohort_or_empty(target)
    with exclusive_lock(target, refusal=OutputConflict, detail="another run is preparing this cohort"):
        claim(target, settings)
        run = _Preparation(
            target=target,
            selection=selection,
            journal=Journal(target / "journal.jsonl"),
            before=read_manifest(target),
            cache=Cache(folder=target / CACHE),
            seed=split_seed,
            dev_share=dev_share,
            one_per_scan=reconstruction.by != "all",
            prune=prune,
            published=published_counts(source, layout),
        )
        run.require_patients_apart()
        if verify:
            run = replace(run, cache=Cache.verified(run.cache.folder, run.journal, run.before, progress=verifying))
        make_job = partial(
            PrepareVolume, cache=run.cache.folder, config=preprocess, hu=hu, min_slices=min_slices, uneven=uneven, judge=judge
        )
        outcomes, damaged = run.read(reading, make_job=make_job, retry=retry, executor=executor, progress=progress)
        return run.finish(outcomes, damaged=damaged)


@dataclass(frozen=True, kw_only=True)
class _Preparation:
    """One run, with the lock held: what is asked for, and what earlier runs left."""

    target: Path
    selection: Selection
    journal: Journal
    before: Sequence[CohortEntry]
    cache: Cache
    seed: int
    dev_share: float
    one_per_scan: bool
    prune: bool
    published: str

    def require_patients_apart(self) -> None:
        """Refuse a patient in two splits, before anything is read."""
        patients = [
            *((source.patient, source.volume, split_of(source, seed=self.seed)) for source in self.selection.chosen if not source.error),
            *((entry.patient, entry.volume, entry.split) for entry in self._retained({}).kept),
        ]
        self._refuse(find_leaks(patients, what="patient"), self.before, [], notes=self.selection.notes)

    def read(
        self,
        reading: Mapping[str, Any],
        *,
        make_job: Callable[[], PrepareVolume],
        retry: bool,
        executor: Executor,
        progress: Callable[[PrepareProgress], None],
    ) -> tuple[dict[str, VolumeOutcome], int]:
        """Return the outcomes by name, read where none of an earlier run stands, and how many cached volumes were lost or damaged."""
        stamps = {source.volume: source_fingerprint(source, reading) for source in self.selection.chosen}
        outcomes = {
            source.volume: outcome
            for source in self.selection.chosen
            if (outcome := standing_outcome(self.journal, source, stamps[source.volume], cache=self.cache, retry=retry)) is not None
        }
        todo = [(source, stamps[source.volume]) for source in self.selection.chosen if source.volume not in outcomes]
        damaged = sum(not source.error and self.journal.has_cached(source.volume, stamp) for source, stamp in todo)
        before = len(outcomes)
        with closing(executor.map(make_job, todo)) as finished:
            for count, outcome in enumerate(map(volume_outcome, finished), start=1):
                self.journal.add([outcome])
                outcomes[outcome.volume] = outcome
                progress(PrepareProgress(outcome=outcome, completed=count, total=len(todo), before=before))
        return outcomes, damaged

    def finish(self, outcomes: Mapping[str, VolumeOutcome], *, damaged: int) -> PreparationSummary:
        """Write the quality report and the manifest, and take away what neither they nor the journal vouch for."""
        rows, cached = self._retained(outcomes), self.journal.cached
        kept = [entry for entry in rows.kept if self.cache.holds_row(entry, cached.get(entry.volume))]
        lost = [entry for entry in rows.kept if entry not in kept]
        prepared = [source for source in self.selection.chosen if not outcomes[source.volume].error]
        moments = {source.volume: source.study_time for source in self.selection.sources}
        entries = manifest_entries(prepared, outcomes, kept=kept, before=self.before, moments=moments, seed=self.seed)
        split_entries = with_dev(entries, dev_share=self.dev_share)
        statements = {source.volume: source.stated_contrast for source in self.selection.chosen if source.stated_contrast}
        notes = (
            *self.selection.notes,
            *contrast_note(statements, outcomes),
            *rows.notes(cached),
            *cache_notes(damaged=damaged, unlisted=0 if self.prune else self._unlisted(entries)),
            *rare_in_dev(split_entries),
            *([f"{self.published}; here are {counts_of(entries)}."] if self.published else []),
        )
        issues = [
            *findings_of((outcomes[source.volume] for source in self.selection.chosen), absent=self.selection.absent),
            *contrast_issues(statements, outcomes),
            *(QualityIssue(volume=entry.volume, status="refused", error=CacheDamaged.__name__, message=_LOST) for entry in lost),
            *(QualityIssue(volume=entry.volume, status="kept", message="Not in the archive now; kept as it was.") for entry in kept),
        ]
        scans = ((entry.cache_sha256, entry.volume, entry.split) for entry in entries)
        self._refuse(find_leaks(scans, what="scan"), entries, issues, notes=notes)
        contrast = contrast_counts((entry.volume for entry in entries), statements, cached)
        write_quality(self.target, split_entries, issues, outcomes=cached, notes=notes, contrast=contrast)
        write_manifest(self.target, entries)
        vouched = set() if self.prune else {f"{CACHE}/{outcome.cache}" for outcome in cached.values()}
        sweep(self.target, vouched | {entry.cache for entry in entries})
        return PreparationSummary(
            volumes=len(entries),
            slices=sum(cached[entry.volume].slices for entry in entries if entry.volume in cached),
            refused=len(self.selection.chosen) - len(prepared) + len(lost),
            absent=len(self.selection.absent),
            notes=notes,
        )

    def _retained(self, outcomes: Mapping[str, VolumeOutcome]) -> Retained:
        listed = {volume.volume: volume for volume in self.selection.sources}
        return retained_rows(self.before, listed, outcomes, one_per_scan=self.one_per_scan, prune=self.prune)

    def _unlisted(self, entries: Sequence[CohortEntry]) -> int:
        """Count cached volumes of the journal whose scans are neither in the archive nor in the manifest."""
        known = {volume.volume for volume in self.selection.sources} | {entry.volume for entry in entries}
        return sum(name not in known and (self.cache.folder / outcome.cache).is_file() for name, outcome in self.journal.cached.items())

    def _refuse(
        self, leaks: Sequence[Leakage], entries: Sequence[CohortEntry], issues: Sequence[QualityIssue], *, notes: Sequence[str]
    ) -> None:
        """Refuse leaks, once the quality report lists every one."""
        if leaks:
            write_quality(self.target, entries, [*leak_issues(leaks), *issues], outcomes=self.journal.cached, notes=notes)
            refuse_leaks(leaks, listed_in="quality.csv")


def _check(source: Path, layout: str) -> None:
    if layout not in LAYOUTS:
        raise InputError(f"no layout {layout!r:.40}; there are {', '.join(LAYOUTS)}", hint="Choose one of them.")
    if not source.is_dir():
        raise InputError("no such folder", hint="Check the path.", source=source)
