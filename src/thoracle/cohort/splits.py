"""Split patients, never scans or rows, into training, validation and test; a leak is an error."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from hashlib import sha256
from typing import Final

from thoracle.cohort.sources import Split, VolumeSource
from thoracle.errors import SplitLeak

#: Of the patients whose archive does not split them.
VALID_SHARE: Final = 0.1
TEST_SHARE: Final = 0.1


def split_of(source: VolumeSource, *, seed: int) -> Split:
    """Return the archive's split of a patient; else assign one by a hash of patient and seed."""
    if source.split is not None:
        return source.split
    digest = sha256(f"{seed}\0{source.patient}".encode()).digest()
    drawn = int.from_bytes(digest[:8]) / 2**64
    return "valid" if drawn < VALID_SHARE else "test" if drawn < VALID_SHARE + TEST_SHARE else "train"


def require_no_leak(rows: Iterable[tuple[str, str, Split]], *, what: str) -> None:
    """Require that nothing is in two splits.

    Args:
        rows: who or what (a patient, the hash of a scan's voxels), a volume of it, and its split.
        what: the word for it.

    Raises:
        SplitLeak: names the first volumes.
    """
    names_by_split: dict[str, dict[Split, str]] = defaultdict(dict)
    for key, volume, split in rows:
        names_by_split[key].setdefault(split, volume)
    leaks = [splits for splits in names_by_split.values() if len(splits) > 1]
    if leaks:
        first = ", ".join(f"{volume} in {split}" for split, volume in sorted(leaks[0].items()))
        raise SplitLeak(
            f"{len(leaks):,} times one {what} is in two splits: {first}",
            hint="Take one of them away, or put both into one split; then run again.",
        )
