"""The prepared cohort on the disk: cohort.json with its settings, manifest.csv with a row a volume, cache/.

The manifest is written last and whole: where there is one, every volume it names was in the cache when it was written. It has the
splits of the archive; which training patients are of split dev follows from their names and cohort.json's `dev_share` as it is read.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Literal

from thoracle.cohort.demographics import NO_FACTS, Demographics
from thoracle.cohort.pseudonyms import PSEUDONYMIZED_LAYOUTS
from thoracle.cohort.reports import Report
from thoracle.cohort.sources import COHORT_SETTINGS, SPLITS, Labels, Split
from thoracle.cohort.splits import DEV_SHARE, dev_patients
from thoracle.cohort.tables import VOLUME_NAME
from thoracle.ct.chest.input_box import InputBox
from thoracle.ct.preprocess import Preprocessing, preprocessing_from_mapping
from thoracle.ct.recipes.sampling import box_from_text
from thoracle.errors import CohortUnfinished, InputError, OutputConflict
from thoracle.files.atomic import write_atomic
from thoracle.files.json_file import read_json_object
from thoracle.files.run_settings import check_or_write_settings
from thoracle.files.volume_list import VolumeIdentity, read_volume_list
from thoracle.types import ABNORMALITIES

_PREPARE_ANEW: Final = "Move it away, and prepare the cohort anew with `thoracle prepare`."
#: A change that breaks readers takes the next number.
SCHEMA: Final = "thoracle.cohort/3"
CACHE: Final = "cache"
_MANIFEST: Final = "manifest.csv"
_COLUMNS: Final = (
    VOLUME_NAME,
    "scan",
    "patient",
    "split",
    "source_sha256",
    "cache",
    "cache_sha256",
    "findings",
    "impression",
    *ABNORMALITIES,
    "accession",
    "age",
    "sex",
    "date",
    "scanner",
    "visit",
)
_BOX: Final = "chest_box"  # since 2026-12; manifests of before lack it
_FOREGROUND: Final = "foreground"  # of a recipe that crops to it; others lack it
_LARGEST_CELL: Final = 1 << 20
_HINT: Final = "Run `thoracle prepare` with this --out (again)."
_MOVE_MANIFEST: Final = "Move it away, and run `thoracle prepare` with this --out again."


@dataclass(frozen=True, kw_only=True)
class CohortEntry:
    """Describe one prepared volume.

    `cache` is its file below the cohort's folder. `visit` numbers the patient's scans in the order of time, alike where it is not known
    which came first, None where no date is known. `box` is the chest's in the cached volume, None where there is no chest, or nobody
    looked. `foreground` is what a recipe's first step left of the scan (`box_as_text`); "" where it has no such step. The rest is as in
    `VolumeSource` and `VolumeOutcome`.
    """

    volume: str
    scan: str
    patient: str
    split: Split
    source_sha256: str
    cache: str
    cache_sha256: str
    report: Report
    labels: Labels
    accession: str = ""
    facts: Demographics = NO_FACTS
    visit: int | None = None
    box: InputBox | None = None
    foreground: str = ""


@dataclass(frozen=True, kw_only=True)
class Cohort:
    """Hold a prepared cohort.

    Attributes:
        folder: where it is.
        preprocess: what its volumes were made with.
        entries: the volumes in order of name, with split dev told from train.
        layout: of the archive that it was made of; "" where nobody says.
        naming: "pseudonyms" of the site key with this `key`, "published" by the archive, or "real": a hospital's own.
        site_key_fingerprint: the site key's fingerprint, where names are its pseudonyms.
        selection: says what a list selected of the cohort, "" where all is taken.
    """

    folder: Path
    preprocess: Preprocessing
    entries: tuple[CohortEntry, ...]
    layout: str = ""
    naming: Literal["pseudonyms", "published", "real"] = "real"
    site_key_fingerprint: str | None = None
    selection: str = ""


def require_cohort_or_empty(folder: Path) -> None:
    """Raise OutputConflict where a folder holds something else than a cohort."""
    if not (folder / COHORT_SETTINGS).exists() and folder.exists() and any(not entry.name.startswith(".") for entry in folder.iterdir()):
        raise OutputConflict("is not empty and holds no cohort", hint="Give a new --out.", source=folder)


def claim(folder: Path, settings: dict[str, Any]) -> None:
    """Write the settings of a new cohort, or compare them with those that a run began with.

    Raises:
        OutputConflict: the folder holds something else, or a cohort of other settings.
    """
    require_cohort_or_empty(folder)
    path = folder / COHORT_SETTINGS
    check_or_write_settings(
        path,
        settings={"schema": SCHEMA, "dev_share": DEV_SHARE, **settings},
        read=_settings,
        refusal=OutputConflict,
        hint="Give another --out, or the options of that run.",
        source=folder,
    )


def write_manifest(folder: Path, entries: Sequence[CohortEntry]) -> None:
    """Write one row per volume, in order of name, whole or not at all."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    cropped = any(entry.foreground for entry in entries)
    writer.writerow((*_COLUMNS, _BOX, *([_FOREGROUND] if cropped else [])))
    for entry in entries:
        labels = ("" if label is None else label for label in entry.labels)
        ids = (entry.volume, entry.scan, entry.patient, entry.split, entry.source_sha256, entry.cache, entry.cache_sha256)
        facts = entry.facts
        columns = (
            entry.accession,
            "" if facts.age is None else facts.age,
            facts.sex,
            facts.date,
            facts.scanner,
            entry.visit,
            entry.box.as_text() if entry.box else "",
            *([entry.foreground] if cropped else []),
        )
        writer.writerow((*ids, entry.report.findings, entry.report.impression, *labels, *columns))
    write_atomic(folder / _MANIFEST, text.getvalue().encode("utf-8", "replace"), private=True)


def read_manifest(folder: Path) -> tuple[CohortEntry, ...]:
    """Read the rows of the last run that finished; there are none before.

    Raises:
        OutputConflict: not the manifest of a cohort.
    """
    return _read(folder / _MANIFEST) if (folder / _MANIFEST).exists() else ()


def with_dev(entries: Iterable[CohortEntry], *, dev_share: float) -> tuple[CohortEntry, ...]:
    """Tell split dev from train: this share of the training patients, unless the archive has a split dev of its own."""
    rows = tuple(entries)
    if any(entry.split == "dev" for entry in rows):
        return rows
    patients = dev_patients(((entry.patient, entry.cache_sha256) for entry in rows if entry.split == "train"), dev_share=dev_share)
    return tuple(replace(entry, split="dev") if entry.split == "train" and entry.patient in patients else entry for entry in rows)


def open_cohort(folder: str | Path, *, only: str | Path | None = None) -> Cohort:
    """Open a cohort that `thoracle prepare` has finished.

    Args:
        folder: where it is.
        only: a list of volumes (`thoracle.files.volume_list`), which alone are taken; all where there is none.

    Raises:
        InputError: no such folder, or none of the list is in the cohort.
        MetadataError: not such a list.
        CohortUnfinished: not begun, or not finished.
        OutputConflict: its files are none of a cohort's.
    """
    root = Path(folder)
    if not root.is_dir():
        raise InputError("no such folder", hint="Check the path.", source=root)
    if not (root / COHORT_SETTINGS).is_file() or not (root / _MANIFEST).is_file():
        raise CohortUnfinished(f"holds no {COHORT_SETTINGS} with a {_MANIFEST}", hint=_HINT, source=root)
    settings = _settings(root / COHORT_SETTINGS)
    key, selection = settings.get("site_key"), ""
    entries = with_dev(_read(root / _MANIFEST), dev_share=settings["dev_share"])
    if only:
        listed = read_volume_list(Path(only))
        chosen, absent = listed.select(entries, identity=_identity)
        entries, selection = tuple(chosen), listed.summary(len(chosen), absent)
    return Cohort(
        folder=root,
        preprocess=preprocessing_from_mapping(settings["preprocess"], source=root / COHORT_SETTINGS),
        entries=entries,
        layout=str(settings.get("layout") or ""),
        naming="pseudonyms" if key else "real" if settings.get("layout") in PSEUDONYMIZED_LAYOUTS else "published",
        site_key_fingerprint=key,
        selection=selection,
    )


def _identity(entry: CohortEntry) -> VolumeIdentity:
    return VolumeIdentity(names=(entry.volume,), source_sha256=entry.source_sha256)


def _settings(path: Path) -> dict[str, Any]:
    detail = f"does not describe a cohort of schema {SCHEMA}"
    return read_json_object(
        path,
        parse=_parse,
        refusal=OutputConflict,
        detail=detail,
        hint=_PREPARE_ANEW,
        tag=("schema", SCHEMA),
    )


def _parse(values: dict[str, Any]) -> dict[str, Any]:
    if not isinstance(values.get("preprocess"), dict):
        raise ValueError("no preprocess")
    dev_share = values.setdefault("dev_share", DEV_SHARE)  # what cohorts of before the split had it said of
    if not isinstance(dev_share, int | float) or not 0 <= dev_share < 1:
        raise ValueError("dev_share is no share")
    return values


def _read(path: Path) -> tuple[CohortEntry, ...]:
    csv.field_size_limit(_LARGEST_CELL)
    try:
        with path.open(newline="", encoding="utf-8") as file:
            lines = csv.reader(file)
            columns = tuple(next(lines, ()))
            if columns not in (_COLUMNS, (*_COLUMNS, _BOX), (*_COLUMNS, _BOX, _FOREGROUND)):
                raise ValueError("other columns")
            return tuple(map(_entry, lines))
    except (csv.Error, ValueError) as error:
        raise OutputConflict(f"is not the manifest of a cohort ({error})", hint=_MOVE_MANIFEST, source=path) from error


def _entry(cells: list[str]) -> CohortEntry:
    volume, scan, patient, split, source_sha256, cache, cache_sha256, findings, impression, *rest = cells
    labels, (accession, age, sex, date, scanner, visit, *boxes) = rest[: len(ABNORMALITIES)], rest[len(ABNORMALITIES) :]
    box, foreground = (*boxes, "", "")[:2]
    if foreground:
        box_from_text(foreground)  # ValueError if it is none
    return CohortEntry(
        volume=volume,
        scan=scan,
        patient=patient,
        split=SPLITS[SPLITS.index(split)],  # ValueError if it is none
        source_sha256=source_sha256,
        cache=cache,
        cache_sha256=cache_sha256,
        report=Report(findings=findings, impression=impression),
        labels=tuple(None if label == "" else int(label) for label in labels),
        accession=accession,
        facts=Demographics(age=int(age) if age else None, sex=sex, date=date, scanner=scanner),
        visit=int(visit) if visit else None,
        box=InputBox.from_text(box) if box else None,
        foreground=foreground,
    )
