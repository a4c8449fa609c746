"""Split patients, never scans or rows, into training, development, validation and test; a leak is an error."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from thoracle.cohort.sources import Split, VolumeSource
from thoracle.errors import SplitLeak

#: Of the patients whose archive does not split them.
VALID_SHARE: Final = 0.1
TEST_SHARE: Final = 0.1
#: Of training patients: what runs are evaluated and chosen on.
DEV_SHARE: Final = 0.05
_MOST_NAMED: Final = 20


@dataclass(frozen=True, kw_only=True)
class Leakage:
    """Describe a patient or a scan in several splits: the word for it, and the first volume in each split."""

    what: str
    volumes: Mapping[Split, str]

    def __str__(self) -> str:
        return ", ".join(f"{volume} in {split}" for split, volume in sorted(self.volumes.items()))


def split_of(source: VolumeSource, *, seed: int) -> Split:
    """Return the archive's split of a patient; else assign one by a hash of patient and seed."""
    if source.split is not None:
        return source.split
    drawn = _fraction_of(f"{seed}\0{source.patient}")
    return "valid" if drawn < VALID_SHARE else "test" if drawn < VALID_SHARE + TEST_SHARE else "train"


def dev_patients(rows: Iterable[tuple[str, str]], *, dev_share: float) -> frozenset[str]:
    """Draw training patients for the split dev by a hash of each, so that whoever is drawn stays drawn whatever is added.

    A patient one of whose scans is another training patient's too is not held out: its voxels are trained on.

    Args:
        rows: patient and hash of the voxels of each training volume.
        dev_share: of the patients; a smaller one draws some of those that a larger one draws.
    """
    patients_by_voxels: dict[str, set[str]] = defaultdict(set)
    for patient, voxels in rows:
        patients_by_voxels[voxels].add(patient)
    dev = {patient for patients in patients_by_voxels.values() for patient in patients if _fraction_of(f"dev\0{patient}") < dev_share}
    groups = [patients for patients in patients_by_voxels.values() if len(patients) > 1]
    while leaks := {patient for patients in groups if not patients <= dev for patient in patients & dev}:
        dev -= leaks
    return frozenset(dev)


def find_leaks(rows: Iterable[tuple[str, str, Split]], *, what: str) -> list[Leakage]:
    """List what is in several splits.

    Args:
        rows: who or what (a patient, the hash of a scan's voxels), a volume of it, and its split.
        what: the word for it.
    """
    names_by_split: dict[str, dict[Split, str]] = defaultdict(dict)
    for key, volume, split in rows:
        names_by_split[key].setdefault(split, volume)
    return [Leakage(what=what, volumes=volumes) for volumes in names_by_split.values() if len(volumes) > 1]


def refuse_leaks(leaks: Sequence[Leakage], *, listed_in: str = "") -> None:
    """Raise SplitLeak where there is a leak; it names the first twenty.

    Args:
        leaks: of one kind.
        listed_in: the file that lists them all.
    """
    if leaks:
        where = f", all in {listed_in}" if listed_in else ""
        more = f"; and {len(leaks) - _MOST_NAMED:,} more{where}" if len(leaks) > _MOST_NAMED else ""
        listed = "; ".join(map(str, leaks[:_MOST_NAMED]))
        raise SplitLeak(
            f"{len(leaks):,} times one {leaks[0].what} is in two splits: {listed}{more}",
            hint="Take one of them away, or put both into one split; then run again.",
        )


def _fraction_of(name: str) -> float:
    """A number from 0 to 1, the same for a name each time."""
    return int.from_bytes(sha256(name.encode()).digest()[:8]) / 2**64
