"""Define what an index keeps of one volume, and which records a search may return."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date as day
from hashlib import sha256
from typing import Final

import numpy as np
from numpy.typing import NDArray

from thoracle.cohort.demographics import NO_FACTS, Demographics
from thoracle.cohort.reports import Report, clean_text
from thoracle.cohort.sources import UNLABELLED, Labels
from thoracle.errors import InputError
from thoracle.types import ABNORMALITIES

#: Latents of unit norm: (L,) of one, (n, L) of many.
LatentArray = NDArray[np.float32]

_OLDEST: Final = 150  # years
_DATE: Final = re.compile(r"\d{4}(-\d{2}(-\d{2})?)?", re.ASCII)


@dataclass(frozen=True, kw_only=True)
class Record:
    """Hold one volume's record. Names are the cohort's, or pseudonyms of them.

    Attributes:
        volume: the series or file, unique in the index.
        scan: the examination, of which there may be several volumes; they share its report.
        accession: the number people call the scan by.
        patient: whose.
        split: "train", "dev", "valid", "test" or "".
        report: its words.
        labels: of `ABNORMALITIES`.
        facts: age, sex, date, scanner.
        source_sha256: of the scan's bytes.
        voxels_sha256: of the preprocessed voxels.
        scores: probabilities of findings that were asked for, by name, in order of names; not calibrated.
    """

    volume: str
    scan: str
    accession: str
    patient: str
    split: str = ""
    report: Report = field(default_factory=Report)
    labels: Labels = UNLABELLED
    facts: Demographics = NO_FACTS
    source_sha256: str = ""
    voxels_sha256: str = ""
    scores: tuple[tuple[str, float], ...] = ()

    @property
    def findings(self) -> tuple[str, ...]:
        """List the abnormalities it is labelled with."""
        return tuple(name for name, label in zip(ABNORMALITIES, self.labels, strict=True) if label == 1)

    @property
    def report_sha256(self) -> str:
        """Hash the words of its report, as `hash_report`."""
        return hash_report(self.report.text("both"))


def hash_report(text: str) -> str:
    """Hash a report's cleaned words, however they are spaced; "" where it has none."""
    words = " ".join(clean_text(text).split())
    return sha256(words.encode("utf-8", "surrogatepass")).hexdigest() if words else ""


@dataclass(frozen=True, kw_only=True, eq=False)
class IndexedVolume:
    """Hold a record with its latent (L,) and a PNG of a few slices, or none."""

    record: Record
    latent_L: LatentArray
    thumbnail: bytes = b""


def check_latents(additions: Sequence[IndexedVolume], *, dim: int) -> None:
    """Refuse latents that nothing can be compared with.

    Raises:
        InputError: a latent of another width, that is not finite, or zero.
    """
    for addition in additions:
        latent = addition.latent_L
        if latent.shape != (dim,) or not np.isfinite(latent).all() or not latent.any():
            detail = f"expected {dim} finite numbers, not all zero, as a latent, got {latent.shape} of norm {np.linalg.norm(latent):g}"
            raise InputError(detail, hint="Encode it again.")


@dataclass(frozen=True, kw_only=True)
class Filters:
    """Require all of these; a record that lacks a value does not match.

    Attributes:
        present, absent: labels.
        age_from, age_to: whole years, both included.
        sex: "F", "M" or "O".
        date_from, date_to: "2019", "2019-03" or "2019-03-04", both included; a date of which less is told holds if it may.
        scanner: part of its name, in any case.
        split: "train", "dev", "valid" or "test".
        scored: names of findings that the index keeps probabilities of, each with the least that passes.

    Raises:
        InputError: a label that is none of the 18, a probability that is none, another form, no day of a calendar, or filters that no
            record can pass.
    """

    present: tuple[str, ...] = ()
    absent: tuple[str, ...] = ()
    age_from: int | None = None
    age_to: int | None = None
    sex: str = ""
    date_from: str = ""
    date_to: str = ""
    scanner: str = ""
    split: str = ""
    scored: tuple[tuple[str, float], ...] = ()

    def __post_init__(self) -> None:
        for name in (*self.present, *self.absent):
            if name not in ABNORMALITIES:
                raise InputError(f"no label {name!r:.60}", hint=f"There are {', '.join(ABNORMALITIES)}.")
        for name, least in self.scored:
            if not 0 <= least <= 1:
                raise InputError(f"no probability of {name!r:.60} is {least:g}", hint="Give one between 0 and 1.")
        if self.sex not in ("", "F", "M", "O"):
            raise InputError(f"sex must be F, M or O, is {self.sex!r:.20}", hint="Give one of them.")
        for date in filter(None, (self.date_from, self.date_to)):
            if not _DATE.fullmatch(date) or not _is_in_calendar(date):
                raise InputError(f"expected a date like 2019, 2019-03 or 2019-03-04, got {date!r:.20}", hint="Write it so.")
        if both := sorted({*self.present} & {*self.absent}):
            raise InputError(f"no record is labelled with {both[0]} and without it", hint="Leave one of the two out.")
        youngest, oldest = self.age_from or 0, _OLDEST if self.age_to is None else self.age_to
        if not 0 <= youngest <= oldest <= _OLDEST:
            hint = f"Give the younger age first; ages are of 0 to {_OLDEST} years."
            raise InputError(f"no age is between {youngest} and {oldest}", hint=hint)
        stated = min(len(self.date_from), len(self.date_to))
        if self.date_from[:stated] > self.date_to[:stated]:
            raise InputError(f"no date is from {self.date_from} to {self.date_to}", hint="Give the earlier date first.")

    def __bool__(self) -> bool:
        return self != _ALL


def _is_in_calendar(date: str) -> bool:
    try:
        day(*map(int, f"{date}-01-01"[:10].split("-")))
    except ValueError:
        return False
    return True


_ALL: Final = Filters()
