"""A prepared cohort as training and evaluation see it; the only place of this room, with augment.py, that knows torch."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor
from torch.utils.data import Dataset

from thoracle.cohort.manifest import Cohort, CohortEntry, open_cohort
from thoracle.cohort.reports import Section
from thoracle.cohort.samples.augment import Augmentation
from thoracle.cohort.samples.volume_cache import read_volume
from thoracle.cohort.sources import Split
from thoracle.errors import CacheDamaged, InputError

Part = Literal["report", "labels"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Sample:
    """Hold one volume with its report and labels.

    Attributes:
        volume_1ZHW: (1, Z, H, W) float32, units of the config's scale (1000 HU), as `preprocess` gives it to half a HU.
        report: cleaned text of the chosen section; "" where there is none.
        labels: (18,) float32, 0 or 1 in the order of `ABNORMALITIES`, NaN where nobody says.
        volume: the volume's name.
        scan: the examination it is of.
        patient: whose.
    """

    volume_1ZHW: Tensor
    report: str
    labels: Tensor
    volume: str
    scan: str
    patient: str


class CohortDataset(Dataset[Sample]):
    """Serve the volumes of one split, in order of name; an index gives the same sample in every process, and changes only with `set_epoch`.

    Args:
        cohort: its folder, or what `open_cohort` gave.
        split: "train", "dev", "valid" or "test".
        section: which of the report's words.
        needs: leave out volumes that have no report (in the chosen section), or not all labels.
        augmentation: none by default.
        excerpt: words of the report at most, a run of them that begins anywhere; 0 gives all.
        seed: of the augmentation and the excerpt, with the epoch and the volume's name.

    Raises:
        CohortUnfinished: preparation was not finished.
        InputError: no volume is left.
    """

    def __init__(
        self,
        cohort: str | Path | Cohort,
        *,
        split: Split,
        section: Section = "findings",
        needs: Collection[Part] = (),
        augmentation: Augmentation | None = None,
        excerpt: int = 0,
        seed: int = 0,
    ) -> None:
        self.cohort = cohort if isinstance(cohort, Cohort) else open_cohort(cohort)
        self.entries = tuple(entry for entry in self.cohort.entries if entry.split == split and _has(entry, needs, section))
        if not self.entries:
            needed = f" with {' and '.join(sorted(needs))}" if needs else ""
            raise InputError(f"no volume{needed} in split {split!r}", hint="Choose another split, or what volumes need.")
        self._section, self._augmentation, self._excerpt, self._seed = section, augmentation, excerpt, seed
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()  # type: ignore[no-untyped-call]  # workers that live on see it change

    def __len__(self) -> int:
        return len(self.entries)

    def __getitem__(self, index: int) -> Sample:
        """Raises CacheDamaged where a cached volume is not what was written."""
        entry = self.entries[index]
        volume = torch.from_numpy(read_volume(self.cohort.folder / entry.cache))
        if tuple(volume.shape) != self.cohort.preprocess.size:
            detail = f"is of shape {tuple(volume.shape)}, the cohort's volumes are {self.cohort.preprocess.size}"
            raise CacheDamaged(detail, hint="Run `thoracle prepare` again.", source=self.cohort.folder / entry.cache)
        if self._augmentation is not None:
            volume = self._augmentation(volume, generator=self._generator(entry, "volume"), pad=self.cohort.preprocess.pad_value)
        return Sample(
            volume_1ZHW=volume[None],
            report=self.report(entry),
            labels=torch.tensor([float("nan") if label is None else float(label) for label in entry.labels]),
            volume=entry.volume,
            scan=entry.scan,
            patient=entry.patient,
        )

    def set_epoch(self, epoch: int) -> None:
        """Draw the augmentation of an epoch; the same epoch draws the same."""
        self._epoch.fill_(epoch)

    def report(self, entry: CohortEntry) -> str:
        """Return the text of an entry's report that this epoch reads."""
        text = entry.report.text(self._section)
        words = text.split()
        if not self._excerpt or len(words) <= self._excerpt:
            return text
        first = int(torch.randint(len(words) - self._excerpt + 1, (), generator=self._generator(entry, "report")))
        return " ".join(words[first : first + self._excerpt])

    def _generator(self, entry: CohortEntry, of: str) -> torch.Generator:
        """One for the volume and another for the report, so that neither depends on whether the other is changed."""
        salt = "" if of == "volume" else f"\0{of}"
        digest = sha256(f"{self._seed}\0{int(self._epoch)}\0{entry.volume}{salt}".encode()).digest()
        return torch.Generator().manual_seed(int.from_bytes(digest[:8]) >> 1)


def _has(entry: CohortEntry, needs: Collection[Part], section: Section) -> bool:
    return ("report" not in needs or bool(entry.report.text(section))) and ("labels" not in needs or None not in entry.labels)
